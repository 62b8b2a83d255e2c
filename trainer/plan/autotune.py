"""The fastest settings that fit, for the same global batch. Light.

Every combination that the recipe leaves open is predicted (trainer.plan.memory); what is chosen,
what not and why is in the plan. The bits of the base and the optimizer's states change what is
learned, so they come first: 16 bits wherever something fits with them, then 4; AdamW's own states,
then 8-bit ones. Among the rest the cheapest wins, until a run has measured (trainer.plan.trials).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from trainer.plan.compute import Compute, Reason, flattened
from trainer.plan.memory.batches import Lengths
from trainer.plan.memory.predict import CONTEXT, Setting, predict
from trainer.plan.memory.shape import ModelShape
from trainer.plan.methods import base_bits, float8
from trainer.recipe import Recipe

# Of the time of a step, measured with Unsloth on 8B shapes on one H200: 17,325 tok/s without
# recomputation and 12,600 with its "unsloth" checkpointing. The others are taken, not measured.
_RECOMPUTING = {"none": 1.0, "standard": 1.36, "unsloth": 1.375}
_UNPACKING = {32: 1.0, 16: 1.0, 8: 1.6, 4: 1.1}
_STATES = {"adamw": 1.0, "adamw_8bit": 1.002, "paged_adamw_32bit": 1.01, "paged_adamw_8bit": 1.02}
# One H200, Luthier's runs of bench/gpu/speed.py: 62 ms a step and 55 us a token: t / (t + 1,100) of
# the best speed. More than 12,000 tokens at once gained nothing.
_HALF_SPEED, _ENOUGH = 1100.0, 12_000
# Float8 products save time on the GPU and take more of the host's, which is the same for each layer
# however many tokens there are, product by product. 8B on an H200: 1.3 times as fast with 6,500
# tokens at once and with 11,500, 4 % slower with 4,100, a third slower with 2,000; with narrower
# layers some products gain nothing. Where layers are computed together
# (trainer.kernels.float8_layers) they take less of the host's than 16 bits do: 1.06 to 1.4 times as
# fast for 8B with 3,500 to 13,900 tokens at once, 1.36 times for 1B with 3,500. The rest is taken,
# not measured: "slower" rather than "faster" where nobody has looked.
_HOPPER, _FLOAT8_HIDDEN, _FLOAT8_JOINED_HIDDEN = 9, 4096, 2048
_FLOAT8_WORK = 5000 * 218_103_808  # tokens at once by the weights of one of its layers
_FLOAT8_FASTER, _FLOAT8_SLOWER = 1 / 1.3, 1.1
# What the allocator holds and cannot use: its reserve above the peak was 0.2 to 1 % with Unsloth,
# and with TRL once 23 %, most of which it can give back.
_MARGIN = {"unsloth": 0.05, "trl": 0.12}


@dataclass(frozen=True)
class Candidate:
    """One combination, and what is predicted of it."""

    compute: Compute
    tokens: int
    """Of the largest micro-batch."""
    peak: int
    """Bytes."""
    needs: int
    """Bytes that a GPU must have for it."""
    cost: float
    """The time of a token relative to the best that there could be."""
    fits: bool
    verdict: str = ""
    """"chosen", or why not."""

    def to_json(self) -> dict[str, Any]:
        return flattened(asdict(self))


@dataclass(frozen=True)
class Choice:
    tried: list[Candidate]
    """The best micro-batch of each combination, the chosen one first."""
    reasons: list[Reason]

    @property
    def best(self) -> Candidate:
        return self.tried[0]


@dataclass(frozen=True)
class Task:
    """What is to be planned: a recipe for a model's shape on one GPU."""

    recipe: Recipe
    shape: ModelShape
    lengths: Lengths
    engine: str
    card: int
    """Bytes of the GPU."""
    conversations: int
    """Of each global batch, on this GPU."""
    decided: Compute = field(default_factory=lambda: Compute(padding_free=True))
    """What is no longer open: attention, the layout of a batch, shards."""
    capability: tuple[int, int] | None = None
    """The GPU's compute capability; None: no float8 unless the recipe says so."""
    measured: Callable[[Setting], tuple[float, str]] = lambda setting: (1.0, "")
    """How much more than predicted such a setting has taken before, and in which run."""

    def setting(self, compute: Compute) -> Setting:
        tokens = self.lengths.largest(compute.micro_batch, padding_free=compute.padding_free)
        return Setting.of(self.recipe, self.engine, compute).holding(tokens, compute.micro_batch)

    def candidate(self, compute: Compute) -> Candidate:
        setting = self.setting(compute)
        peak = round(predict(self.shape, setting).peak * self.measured(setting)[0])
        needs = needed(peak, self.engine)
        cost = (
            _RECOMPUTING[compute.gradient_checkpointing]
            * _UNPACKING[compute.base_bits]
            * _STATES[compute.optimizer]
            * self._float8_cost(compute)
            * self._batch_cost(compute)
        )
        return Candidate(
            compute, setting.tokens, peak, needs, round(cost, 3), fits=needs <= self.card
        )

    def sized(self, compute: Compute, micro_batch: int) -> Compute:
        """With that micro-batch of the task's conversations."""
        return replace(
            compute, micro_batch=micro_batch, accumulation=self.conversations // micro_batch
        )

    def _float8_cost(self, compute: Compute) -> float:
        if not compute.float8:
            return 1.0
        tokens = compute.micro_batch * self.lengths.mean
        work = tokens * self.shape.inside / self.shape.layers
        joined = self.engine == "unsloth" and not self.recipe.lora.dropout
        pays = (joined and self.shape.hidden >= _FLOAT8_JOINED_HIDDEN) or (
            self.shape.hidden >= _FLOAT8_HIDDEN and work >= _FLOAT8_WORK
        )
        is_hopper = self.capability is not None and self.capability[0] == _HOPPER
        return _FLOAT8_FASTER if is_hopper and pays else _FLOAT8_SLOWER

    def _batch_cost(self, compute: Compute) -> float:
        size = compute.micro_batch
        tokens = min(size * self.lengths.mean, _ENOUGH)
        best = _ENOUGH / (_ENOUGH + _HALF_SPEED)
        computed = self.lengths.computed(size, padding_free=compute.padding_free)
        return best * (tokens + _HALF_SPEED) / tokens * computed


def needed(peak: int, engine: str) -> int:
    """The memory that a GPU must have for a run with this peak."""
    return round(peak * (1 + _MARGIN[engine])) + CONTEXT


def choose(task: Task) -> Choice:
    """The fastest that fits; if nothing does, what takes the least."""
    optimizers = _optimizers(task)
    candidates = [
        _best_size(
            task,
            replace(
                task.decided,
                base_bits=bits,
                optimizer=optimizer,
                gradient_checkpointing=checkpointing,
            ),
        )
        for bits in _bits(task)
        for optimizer in optimizers
        for checkpointing in kinds(task.recipe, task.engine)
    ]
    best = min(
        (candidate for candidate in candidates if candidate.fits),
        key=lambda candidate: (
            -candidate.compute.base_bits,
            optimizers.index(candidate.compute.optimizer),
            candidate.cost,
            candidate.needs,
        ),
        default=min(candidates, key=lambda candidate: candidate.needs),
    )
    losers = [
        replace(candidate, verdict=_verdict(candidate, best, task))
        for candidate in candidates
        if candidate is not best and candidate.compute.optimizer == best.compute.optimizer
    ]
    winner = replace(best, verdict="chosen" if best.fits else "chosen, but too large")
    return Choice(
        [winner, *sorted(losers, key=lambda candidate: (not candidate.fits, candidate.cost))],
        _reasons(task, best, candidates),
    )


def alternatives(task: Task, compute: Compute) -> list[Candidate]:
    """Every combination with this one's bits and optimizer: what trains the same."""
    return [
        task.candidate(
            task.sized(replace(compute, gradient_checkpointing=kind, float8=in_float8), size)
        )
        for in_float8 in float8(task.recipe, compute, task.capability)
        for kind in kinds(task.recipe, task.engine)
        for size in _sizes(task)
    ]


def kinds(recipe: Recipe, engine: str) -> list[str]:
    """The kinds of gradient checkpointing that may be chosen, the quickest first. Of Unsloth's two
    its own takes far less memory, and the speed of the other has not been measured."""
    asked = recipe.train.gradient_checkpointing
    if asked != "auto":
        return [asked]
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
    return [16] if task.decided.shards > 1 or train.float8 is True else [16, 4]


def _optimizers(task: Task) -> list[str]:
    train = task.recipe.train
    if train.optimizer != "auto":
        return [train.optimizer]
    if task.decided.shards > 1:
        return ["adamw"]
    return (
        ["adamw", "adamw_8bit", "paged_adamw_8bit"]
        if train.method == "full"
        else ["adamw", "adamw_8bit"]
    )


def _sizes(task: Task) -> list[int]:
    return micro_batches(task.recipe, task.conversations, task.lengths.mean)


def _best_size(task: Task, compute: Compute) -> Candidate:
    """The quickest micro-batch that fits, in float8 or not, else the smallest."""
    candidates = [
        task.candidate(task.sized(replace(compute, float8=in_float8), size))
        for in_float8 in float8(task.recipe, compute, task.capability)
        for size in _sizes(task)
    ]
    return min(
        (candidate for candidate in candidates if candidate.fits),
        key=lambda candidate: (candidate.cost, candidate.needs),
        default=candidates[0],
    )


def _verdict(candidate: Candidate, best: Candidate, task: Task) -> str:
    if not candidate.fits:
        return f"does not fit: needs {_gb(candidate.needs)}, the card has {_gb(task.card)}"
    if candidate.compute.base_bits < best.compute.base_bits:
        return "fits, but more bits fit too"
    return (
        f"fits, but takes {candidate.cost / best.cost:.2f} times as long"
        if candidate.cost > best.cost * 1.004
        else "fits, but is no faster"
    )


def _reasons(task: Task, best: Candidate, candidates: list[Candidate]) -> list[Reason]:
    train, reasons = task.recipe.train, []
    if not best.fits:
        text = (
            f"Nothing is predicted to fit: even the smallest settings need {_gb(best.needs)}, and"
            f" the card has {_gb(task.card)}."
        )
        reasons.append(Reason("", text))
    if len(_bits(task)) > 1:
        reasons.append(Reason("train.base_bits", _why_bits(best, candidates, task)))
    if train.gradient_checkpointing == "auto":
        text = _why_checkpointing(best, candidates, task)
        reasons.append(Reason("train.gradient_checkpointing", text))
    if not train.micro_batch:
        reasons.append(Reason("train.micro_batch", _why_micro_batch(best, task)))
    if best.compute.float8:
        reasons.append(Reason("train.float8", _why_float8(best, task)))
    if train.optimizer == "auto" and best.compute.optimizer != "adamw":
        text = (
            f"{best.compute.optimizer}: with AdamW's own states, nothing with a base in"
            f" {best.compute.base_bits} bits fits."
        )
        reasons.append(Reason("train.optimizer", text))
    factor, run = task.measured(task.setting(best.compute))
    if run:
        text = f"Predictions are multiplied by {factor:.2f}, which run {run} measured."
        reasons.append(Reason("", text))
    return reasons


def _why_bits(best: Candidate, candidates: list[Candidate], task: Task) -> str:
    if best.compute.base_bits == 16:
        weights = 2 * (task.shape.inside + task.shape.outside)
        return f"16-bit base: its {_gb(weights)} of weights leave enough room."
    least = min(wide.needs for wide in candidates if wide.compute.base_bits == 16)
    return (
        f"4-bit base: with 16 bits it needs at least {_gb(least)}, and the card has"
        f" {_gb(task.card)}."
    )


def _why_checkpointing(best: Candidate, candidates: list[Candidate], task: Task) -> str:
    if best.compute.gradient_checkpointing == "none":
        return (
            "No gradient checkpointing: the run fits without it, and recomputing takes about 1.4"
            " times as long."
        )
    without = [
        candidate
        for candidate in candidates
        if candidate.compute.gradient_checkpointing == "none"
        and candidate.compute.base_bits == best.compute.base_bits
        and candidate.compute.optimizer == best.compute.optimizer
    ]
    fitting = [candidate for candidate in without if candidate.fits]
    kind = f'Gradient checkpointing "{best.compute.gradient_checkpointing}"'
    if fitting:
        return (
            f"{kind}: without it only {fitting[0].compute.micro_batch} conversations fit at a"
            " time, which is slower than recomputing."
        )
    least = min(candidate.needs for candidate in without)
    return (
        f"{kind}: without it the run needs at least {_gb(least)}, and the card has"
        f" {_gb(task.card)}."
    )


def _why_float8(best: Candidate, task: Task) -> str:
    if task.recipe.train.float8 is True:
        return "Float8 products with the frozen weights, because the recipe says so."
    return (
        "Float8 products with the frozen weights: predicted to be faster at this size, with an"
        " error far below that of 4 bits."
    )


def _why_micro_batch(best: Candidate, task: Task) -> str:
    micro_batch = best.compute.micro_batch
    mean = micro_batch * task.lengths.mean
    at_once = (
        f"Micro-batch {micro_batch}: about {round(mean, -2 if mean >= 1000 else 0):,.0f}"
        " tokens at once"
    )
    larger = [task.sized(best.compute, size) for size in _sizes(task) if size > micro_batch]
    if any(task.candidate(compute).cost < best.cost for compute in larger):
        return f"{at_once}, as many as fit."
    if micro_batch == task.conversations:
        return f"{at_once}, the whole global batch."
    return f"{at_once}; more would be no faster."


def _gb(size: int) -> str:
    return f"{size / 1e9:.1f} GB"
