"""Greedy answers of the model that is being trained. Heavy: for workers."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from transformers import GenerationConfig, StoppingCriteriaList

if TYPE_CHECKING:
    from peft import PeftModel


class Interrupted(Exception):
    """The run is to stop."""


@dataclass(frozen=True)
class Generated:
    """An answer's tokens without the stop token; `stopped` is False where it reached the longest length."""

    tokens: list[int]
    stopped: bool


class Generator:
    """Answers prompts in batches, padded on the left, the longest ones last. Raises Interrupted within a token's time."""

    def __init__(self, stop_ids: Iterable[int], longest: int, batch: int, stopping: Callable[[], bool]) -> None:
        self._stops = sorted(stop_ids)
        self._longest = longest
        self._batch = batch
        self._stopping = stopping

    def answers(self, model: PeftModel, prompts: Sequence[Sequence[int]], told: Callable[[int, int], None]) -> list[Generated]:
        """In the order of the prompts (lists of token ids). `told` hears how many of how many are done."""
        answers: dict[int, Generated] = {}
        order = sorted(range(len(prompts)), key=lambda number: len(prompts[number]))
        for first in range(0, len(order), self._batch):
            told(first, len(order))
            numbers = order[first : first + self._batch]
            answers.update(zip(numbers, self._answer(model, [prompts[number] for number in numbers]), strict=True))
        return [answers[number] for number in range(len(prompts))]

    def _answer(self, model: PeftModel, prompts: list[Sequence[int]]) -> list[Generated]:
        width = max(map(len, prompts))
        device = next(model.parameters()).device
        input_ids = torch.full((len(prompts), width), self._stops[0], dtype=torch.long)
        mask = torch.zeros((len(prompts), width), dtype=torch.long)
        for row, prompt in enumerate(prompts):
            input_ids[row, width - len(prompt) :] = torch.tensor(prompt)
            mask[row, width - len(prompt) :] = 1
        whole = model.get_base_model().generate(
            input_ids=input_ids.to(device),
            attention_mask=mask.to(device),
            generation_config=GenerationConfig(
                do_sample=False, max_new_tokens=self._longest, eos_token_id=self._stops, pad_token_id=self._stops[0], use_cache=True
            ),
            stopping_criteria=StoppingCriteriaList([self._interrupt]),
        )
        if self._stopping():
            raise Interrupted
        return [self._cut(row) for row in whole[:, width:].tolist()]

    def _interrupt(self, input_ids: torch.Tensor, scores: Any, **more: Any) -> torch.Tensor:
        return torch.full((input_ids.shape[0],), self._stopping(), dtype=torch.bool, device=input_ids.device)

    def _cut(self, tokens: list[int]) -> Generated:
        for place, token in enumerate(tokens):
            if token in self._stops:
                return Generated(tokens[:place], stopped=True)
        return Generated(tokens, stopped=False)


@contextmanager
def undisturbed(model: PeftModel) -> Iterator[None]:
    """Whatever happens inside, training goes on as if it had not: random states, training mode and generation settings are put back.

    Inside the model is in evaluation mode, and its own sampling settings (temperature, penalties) are off."""
    base = model.get_base_model()
    own = base.generation_config
    modes = [(module, module.training) for module in model.modules()]
    python, numpy = random.getstate(), np.random.get_state()
    devices = [torch.cuda.current_device()] if torch.cuda.is_available() else []
    with torch.random.fork_rng(devices), torch.no_grad():
        model.eval()
        base.generation_config = GenerationConfig()
        try:
            yield
        finally:
            base.generation_config = own
            for module, training in modes:
                module.training = training
            random.setstate(python)
            np.random.set_state(numpy)
