"""Answers of the model that is being trained, greedy or sampled. Heavy: for workers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch.nn.functional import log_softmax
from transformers import (
    GenerationConfig,
    LogitsProcessor,
    LogitsProcessorList,
    StoppingCriteriaList,
)

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
    stop: int | None = None
    """The stop token."""
    log_probs: list[float] = field(default_factory=list)
    """Of its tokens and the stop token, at temperature 1, where they are recorded."""


class Recorder(LogitsProcessor):
    """Hears the logits of each token before they are sampled from, of the first `rows` answers of a
    batch. `on_begin` is called within the computation, once a batch."""

    def __init__(self, rows: int, on_begin: Callable[[], None]) -> None:
        self._rows, self._on_begin = rows, on_begin
        self._last: torch.Tensor | None = None
        self._scores: list[torch.Tensor] = []

    def begun(self) -> Recorder:
        """Itself, for a further batch."""
        self._last, self._scores = None, []
        return self

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        if self._last is None:
            self._on_begin()
        self._score(input_ids)
        self._last = log_softmax(scores[: self._rows].float(), dim=-1)
        return scores

    def log_probs(self, sequences: torch.Tensor) -> list[list[float]]:
        """Of each recorded answer, when all are written."""
        self._score(sequences)
        values: list[list[float]] = torch.cat(self._scores, dim=1).tolist()
        return values

    def _score(self, sequences: torch.Tensor) -> None:
        if self._last is not None:
            tokens = sequences[: self._rows, -1:].to(self._last.device)
            self._scores.append(self._last.gather(1, tokens))


class Generator:
    """Answers prompts in batches, padded on the left, the longest ones last. Raises
    EvaluationStopped within a token's time.

    With a temperature it samples from the whole distribution, by torch's random state, and
    `recorder` hears of what the model says of the first answers of each batch."""

    def __init__(
        self,
        stop_ids: Iterable[int],
        longest: int,
        temperature: float = 0.0,
        recorder: Recorder | None = None,
    ) -> None:
        self._stops = sorted(stop_ids)
        self._longest = longest
        self._recorder = recorder
        self._sampling: dict[str, Any] = {"do_sample": False}
        if temperature:
            self._sampling = {
                "do_sample": True,
                "temperature": temperature,
                "top_k": 0,
                "top_p": 1.0,
            }

    def answers(
        self,
        model: PeftModel | PreTrainedModel,
        prompts: Sequence[Sequence[int]],
        batch: int,
        progress: Callable[[range, int], None] = lambda numbers, total: None,
        stopping: Callable[[], bool] = lambda: False,
    ) -> list[Generated]:
        """In the order of the prompts (lists of token ids), `batch` at a time. `progress` hears at
        each token which answers are being written, numbered from 1, and of how many."""
        answers: dict[int, Generated] = {}
        order = sorted(range(len(prompts)), key=lambda number: len(prompts[number]))
        with _answering(model):
            for first in range(0, len(order), batch):
                numbers = order[first : first + batch]
                tell = partial(progress, range(first + 1, first + len(numbers) + 1), len(order))
                generated = self._answer(
                    model, [prompts[number] for number in numbers], tell, stopping
                )
                answers.update(zip(numbers, generated, strict=True))
        return [answers[number] for number in range(len(prompts))]

    def _answer(
        self,
        model: PeftModel | PreTrainedModel,
        prompts: list[Sequence[int]],
        tell: Callable[[], None],
        stopping: Callable[[], bool],
    ) -> list[Generated]:
        def interrupt(input_ids: torch.Tensor, scores: Any, **keywords: Any) -> torch.Tensor:
            tell()
            return torch.full(
                (input_ids.shape[0],), stopping(), dtype=torch.bool, device=input_ids.device
            )

        recorder, width = self._recorder, max(map(len, prompts))
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
                **self._sampling,
                max_new_tokens=self._longest,
                eos_token_id=self._stops,
                pad_token_id=self._stops[0],
                use_cache=True,
            ),
            logits_processor=LogitsProcessorList([] if recorder is None else [recorder.begun()]),
            stopping_criteria=StoppingCriteriaList([interrupt]),
            synced_gpus=together,
        )
        if ranks.any_of(stopping()) if together else stopping():
            raise EvaluationStopped
        scores = [] if recorder is None else recorder.log_probs(sequences)
        scores += [[] for _ in prompts[len(scores) :]]
        rows: list[list[int]] = sequences[:, width:].tolist()
        return [self._cut(*row) for row in zip(rows, scores, strict=True)]

    def _cut(self, tokens: list[int], log_probs: list[float]) -> Generated:
        for end, token in enumerate(tokens):
            if token in self._stops:
                return Generated(tokens[:end], True, token, log_probs[: end + 1])
        return Generated(tokens, stopped=False, log_probs=log_probs)


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
