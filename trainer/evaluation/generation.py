"""Greedy answers of the model that is being trained. Heavy: for workers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from transformers import GenerationConfig, StoppingCriteriaList

from trainer.distributed import ranks
from trainer.distributed.sharding import is_sharded
from trainer.run.saving import EvaluationStopped

if TYPE_CHECKING:
    from peft import PeftModel
    from transformers import PreTrainedModel


@dataclass(frozen=True)
class Generated:
    """An answer's tokens without the stop token; `stopped` is False where it reached the longest
    length."""

    tokens: list[int]
    stopped: bool


class Generator:
    """Answers prompts in batches, padded on the left, the longest ones last. Raises
    EvaluationStopped within a token's time."""

    def __init__(self, stop_ids: Iterable[int], longest: int) -> None:
        self._stops = sorted(stop_ids)
        self._longest = longest

    def answers(
        self,
        model: PeftModel | PreTrainedModel,
        prompts: Sequence[Sequence[int]],
        batch: int,
        progress: Callable[[int, int], None] = lambda done, total: None,
        stopping: Callable[[], bool] = lambda: False,
    ) -> list[Generated]:
        """In the order of the prompts (lists of token ids), `batch` at a time. `progress` hears how
        many of how many are done."""
        answers: dict[int, Generated] = {}
        order = sorted(range(len(prompts)), key=lambda number: len(prompts[number]))
        with _answering(model):
            for first in range(0, len(order), batch):
                progress(first, len(order))
                numbers = order[first : first + batch]
                answers.update(
                    zip(
                        numbers,
                        self._answer(model, [prompts[number] for number in numbers], stopping),
                        strict=True,
                    )
                )
        return [answers[number] for number in range(len(prompts))]

    def _answer(
        self,
        model: PeftModel | PreTrainedModel,
        prompts: list[Sequence[int]],
        stopping: Callable[[], bool],
    ) -> list[Generated]:
        def interrupt(input_ids: torch.Tensor, scores: Any, **keywords: Any) -> torch.Tensor:
            return torch.full(
                (input_ids.shape[0],), stopping(), dtype=torch.bool, device=input_ids.device
            )

        width = max(map(len, prompts))
        device = next(model.parameters()).device
        input_ids = torch.full((len(prompts), width), self._stops[0], dtype=torch.long)
        mask = torch.zeros((len(prompts), width), dtype=torch.long)
        for row, prompt in enumerate(prompts):
            input_ids[row, width - len(prompt) :] = torch.tensor(prompt)
            mask[row, width - len(prompt) :] = 1
        # a rank that is done computes on with the others, who need its shards
        together = is_sharded(model)
        sequences = (model if together else _base_model(model)).generate(
            input_ids=input_ids.to(device),
            attention_mask=mask.to(device),
            generation_config=GenerationConfig(
                do_sample=False,
                max_new_tokens=self._longest,
                eos_token_id=self._stops,
                pad_token_id=self._stops[0],
                use_cache=True,
            ),
            stopping_criteria=StoppingCriteriaList([interrupt]),
            synced_gpus=together,
        )
        if ranks.any_of(stopping()) if together else stopping():
            raise EvaluationStopped
        return [self._cut(row) for row in sequences[:, width:].tolist()]

    def _cut(self, tokens: list[int]) -> Generated:
        for end, token in enumerate(tokens):
            if token in self._stops:
                return Generated(tokens[:end], stopped=True)
        return Generated(tokens, stopped=False)


@contextmanager
def _answering(model: PeftModel | PreTrainedModel) -> Iterator[None]:
    """In evaluation mode, without the model's own sampling settings (temperature, penalties); all
    is put back at the end."""
    base = _base_model(model)
    settings = base.generation_config
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    base.generation_config = GenerationConfig()
    try:
        with torch.no_grad():
            yield
    finally:
        base.generation_config = settings
        for module, training in modes:
            module.training = training


def _base_model(model: PeftModel | PreTrainedModel) -> Any:
    """What generates: of an adapter the model that it is on."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model
