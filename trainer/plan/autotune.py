"""The fastest settings that fit, for the same global batch. Light.

Every combination that the recipe leaves open is predicted (trainer.plan.memory); what is chosen,
what not and why is in the plan. The bits of the base and the optimizer's states change what is
learned, so they come first: 16 bits wherever something fits with them, then 4; AdamW's own states,
then 8-bit ones. Among the rest the cheapest wins.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any

from trainer.plan.memory.batches import Lengths
from trainer.plan.memory.predict import CONTEXT, Memory, Setting, predict
from trainer.plan.memory.shape import ModelShape
from trainer.plan.methods import base_bits
from trainer.recipe import Recipe

# Of the time of a step, measured with Unsloth on 8B shapes on one H200: 17,325 tok/s without
# recomputation and 12,600 with its "unsloth" checkpointing. The others are taken, not measured.
_RECOMPUTING = {"none": 1.0, "standard": 1.36, "unsloth": 1.375}
_UNPACKING = {32: 1.0, 16: 1.0, 8: 1.6, 4: 1.1}
_STATES = {"adamw": 1.0, "adamw_8bit": 1.002, "paged_adamw_32bit": 1.01, "paged_adamw_8bit": 1.02}
# One H200, Luthier's runs of bench/gpu/speed.py: 62 ms a step and 55 us a token: t / (t + 1,100) of
# the best speed. More than 12,000 tokens at once gained nothing.
_HALF_SPEED, _ENOUGH = 1100.0, 12_000
# What the allocator holds and cannot use: its reserve above the peak was 0.2 to 1 % with Unsloth,
# and with TRL once 23 %, most of which it can give back.
_MARGIN = {"unsloth": 0.05, "trl": 0.12}


@dataclass(frozen=True)
class Candidate:
    """One combination. `peak` is the predicted one in bytes, `needs` what a GPU must have for it,
    `cost` the time of a token relative to the best that there could be. `verdict`: "chosen", or why
    not."""

    base_bits: int
    gradient_checkpointing: str
    optimizer: str
    micro_batch: int
    tokens: int
    peak: int
    needs: int
    cost: float
    fits: bool
    verdict: str = ""

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class Choice:
    """`tried` has the best micro-batch of each combination, the chosen one first; `memory` the
    parts of the chosen one's peak."""

    chosen: Candidate
    memory: Memory
    tried: list[Candidate]
    reasons: list[str]


@dataclass(frozen=True)
class Task:
    """What is to be planned: a recipe for a model's shape on one GPU of `card` bytes,
    `conversations` of each global batch on it. `measured` tells how much more than predicted such a
    setting has taken before, and in which run. `shards`: of how many GPUs each holds a share of the
    model."""

    recipe: Recipe
    shape: ModelShape
    lengths: Lengths
    engine: str
    card: int
    conversations: int
    padding_free: bool = True
    attention: str = "sdpa"
    measured: Callable[[Setting], tuple[float, str]] = lambda setting: (1.0, "")
    shards: int = 1

    def setting(self, bits: int, checkpointing: str, optimizer: str, micro_batch: int) -> Setting:
        empty = Setting.of(self.recipe, self.engine, bits, checkpointing, optimizer, self.attention)
        tokens = self.lengths.largest(micro_batch, padding_free=self.padding_free)
        return replace(
            empty.holding(tokens, 1 if self.padding_free else micro_batch, micro_batch),
            shards=self.shards,
        )

    def candidate(
        self, bits: int, checkpointing: str, optimizer: str, micro_batch: int
    ) -> Candidate:
        setting = self.setting(bits, checkpointing, optimizer, micro_batch)
        peak = round(predict(self.shape, setting).peak * self.measured(setting)[0])
        needs = needed(peak, self.engine)
        cost = (
            _RECOMPUTING[checkpointing]
            * _UNPACKING[bits]
            * _STATES[optimizer]
            * self._batch_cost(micro_batch)
        )
        return Candidate(
            bits,
            checkpointing,
            optimizer,
            micro_batch,
            setting.tokens,
            peak,
            needs,
            round(cost, 3),
            needs <= self.card,
        )

    def _batch_cost(self, micro_batch: int) -> float:
        tokens = min(micro_batch * self.lengths.mean, _ENOUGH)
        best = _ENOUGH / (_ENOUGH + _HALF_SPEED)
        return (
            best
            * (tokens + _HALF_SPEED)
            / tokens
            * self.lengths.computed(micro_batch, padding_free=self.padding_free)
        )


def needed(peak: int, engine: str) -> int:
    """The memory that a GPU must have for a run with this peak."""
    return round(peak * (1 + _MARGIN[engine])) + CONTEXT


def choose(task: Task) -> Choice:
    """The fastest that fits; if nothing does, what takes the least."""
    combinations = [
        _best(task, bits, checkpointing, optimizer)
        for bits in _bits(task)
        for optimizer in _optimizers(task)
        for checkpointing in kinds(task.recipe, task.engine)
    ]
    fitting = [one for one in combinations if one.fits]
    optimizers = _optimizers(task)
    chosen = min(
        fitting,
        key=lambda one: (-one.base_bits, optimizers.index(one.optimizer), one.cost, one.needs),
        default=min(combinations, key=lambda one: one.needs),
    )
    others = [
        one for one in combinations if one is not chosen and one.optimizer == chosen.optimizer
    ]
    shown = [replace(one, verdict=_verdict(one, chosen, task)) for one in others]
    memory = predict(
        task.shape,
        task.setting(
            chosen.base_bits, chosen.gradient_checkpointing, chosen.optimizer, chosen.micro_batch
        ),
    )
    best = replace(chosen, verdict="chosen" if chosen.fits else "chosen, but too large")
    return Choice(
        best,
        memory,
        [best, *sorted(shown, key=lambda one: (not one.fits, one.cost))],
        _reasons(task, chosen, combinations),
    )


def kinds(recipe: Recipe, engine: str) -> list[str]:
    """The kinds of gradient checkpointing that may be chosen, the quickest first. Of Unsloth's two
    its own takes far less memory, and the speed of the other has not been measured."""
    wanted = recipe.train.gradient_checkpointing
    if wanted != "auto":
        return [wanted]
    return ["none", "unsloth" if engine == "unsloth" else "standard"]


def micro_batches(recipe: Recipe, conversations: int, mean: float) -> list[int]:
    """The divisors of what a GPU computes of a global batch, up to the first that keeps it busy."""
    if recipe.train.micro_batch:
        return [recipe.train.micro_batch]
    divisors = [size for size in range(1, conversations + 1) if conversations % size == 0]
    busy = next(
        (number for number, size in enumerate(divisors) if size * mean >= _ENOUGH * 0.8),
        len(divisors),
    )
    return divisors[: busy + 1]


def _bits(task: Task) -> list[int]:
    """Full fine-tuning is in 32 bits unless the recipe says 16."""
    train = task.recipe.train
    if train.base_bits != "auto" or train.method == "full":
        return [base_bits(task.recipe)]
    return [16] if task.shards > 1 or train.float8 is True else [16, 4]


def _optimizers(task: Task) -> list[str]:
    train = task.recipe.train
    if train.optimizer != "auto":
        return [train.optimizer]
    if task.shards > 1:
        return ["adamw"]
    return (
        ["adamw", "adamw_8bit", "paged_adamw_8bit"]
        if train.method == "full"
        else ["adamw", "adamw_8bit"]
    )


def _best(task: Task, bits: int, checkpointing: str, optimizer: str) -> Candidate:
    """The quickest micro-batch that fits, else the smallest."""
    sizes = micro_batches(task.recipe, task.conversations, task.lengths.mean)
    found = [task.candidate(bits, checkpointing, optimizer, size) for size in sizes]
    return min(
        (one for one in found if one.fits), key=lambda one: (one.cost, one.needs), default=found[0]
    )


def _verdict(one: Candidate, chosen: Candidate, task: Task) -> str:
    if not one.fits:
        return f"does not fit: needs {_gb(one.needs)} of {_gb(task.card)}"
    if one.base_bits < chosen.base_bits:
        return "fits, but so do more bits"
    return (
        f"fits, {one.cost / chosen.cost:.2f} times the time"
        if one.cost > chosen.cost * 1.004
        else "fits, no quicker"
    )


def _reasons(task: Task, chosen: Candidate, combinations: list[Candidate]) -> list[str]:
    train, said = task.recipe.train, []
    if not chosen.fits:
        said.append(
            f"Nothing is predicted to fit: the thriftiest settings need {_gb(chosen.needs)} of"
            f" {_gb(task.card)}."
        )
    if len(_bits(task)) > 1:
        least = min(one.needs for one in combinations if one.base_bits == 16)
        wide = (
            f"16-bit base: its {_gb(2 * (task.shape.inside + task.shape.outside))} of weights leave"
            " room."
        )
        said.append(
            wide
            if chosen.base_bits == 16
            else f"4-bit base: with 16 bits it needs {_gb(least)} at least, of {_gb(task.card)}."
        )
    if train.gradient_checkpointing == "auto":
        said.append(_why_checkpointing(chosen, combinations, task))
    if not train.micro_batch:
        said.append(_why_micro_batch(chosen, task))
    if train.optimizer == "auto" and chosen.optimizer != "adamw":
        said.append(
            f"{chosen.optimizer}: with AdamW's own states nothing of {chosen.base_bits} bits fits."
        )
    setting = task.setting(
        chosen.base_bits, chosen.gradient_checkpointing, chosen.optimizer, chosen.micro_batch
    )
    factor, run = task.measured(setting)
    if run:
        said.append(f"Predictions are corrected by {factor:.2f}, which run {run} has measured.")
    return said


def _why_checkpointing(chosen: Candidate, combinations: list[Candidate], task: Task) -> str:
    if chosen.gradient_checkpointing == "none":
        return (
            "No gradient checkpointing: it fits without, and recomputing takes about 1.4 times as"
            " long."
        )
    alike = [
        one
        for one in combinations
        if (one.base_bits, one.optimizer) == (chosen.base_bits, chosen.optimizer)
    ]
    free = [one for one in alike if one.gradient_checkpointing == "none"]
    fitting = [one for one in free if one.fits]
    kind = f'Gradient checkpointing "{chosen.gradient_checkpointing}"'
    if fitting:
        return (
            f"{kind}: without it only {fitting[0].micro_batch} at a time fit, which is slower than"
            " recomputing."
        )
    return (
        f"{kind}: without it {_gb(min(one.needs for one in free))} are needed at least, of"
        f" {_gb(task.card)}."
    )


def _why_micro_batch(chosen: Candidate, task: Task) -> str:
    mean = chosen.micro_batch * task.lengths.mean
    sizes = micro_batches(task.recipe, task.conversations, task.lengths.mean)
    at_once = (
        f"Micro-batch {chosen.micro_batch}: about {round(mean, -2 if mean >= 1000 else 0):,.0f}"
        " tokens at once"
    )
    larger = [size for size in sizes if size > chosen.micro_batch]
    kind = (chosen.base_bits, chosen.gradient_checkpointing, chosen.optimizer)
    if any(task.candidate(*kind, size).cost < chosen.cost for size in larger):
        return f"{at_once}, as many as fit."
    if chosen.micro_batch == task.conversations:
        return f"{at_once}, all of a global batch."
    return f"{at_once}; more would be no quicker."


def _gb(size: int) -> str:
    return f"{size / 1e9:.1f} GB"
