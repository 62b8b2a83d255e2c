"""Trials: which of the settings that look best is the quickest, measured rather than predicted.

A run on a GPU tries them before its first step (trainer.run.trials), and what came of it is
remembered in `trials.json` by the shape of model and batch, the card and the versions: the next
such plan has the figures. Light.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from itertools import islice
from typing import Annotated, Any

import msgspec

from jobs import foreign_json
from jobs.files import write_json
from jobs.foreign_json import Damaged
from jobs.home import home
from jobs.locks import Lock
from models import foreign
from trainer.plan import repair
from trainer.plan.autotune import Candidate, Task, alternatives
from trainer.plan.compute import Compute, Reason

TRIALS_FILE = "trials.json"
MOST_SECONDS, MOST_SHARE = 45.0, 0.02
"""What trials cost at most: seconds, and a share of the run's own time; whichever is less."""
NO_TIME = "no time was left"
_MOST = 4  # contenders
# What is tried in turn: whether it departs from the best prediction in float8 and in checkpointing,
# and how much dearer it may be predicted. Micro-batches are predicted well, float8 is not.
_LIMITS = (
    ((True, False), 1.6),
    ((False, True), 1.2),
    ((False, False), 1.06),
    ((True, False), 1.06),
    ((False, False), 1.06),
)
_WORTH = 1.02  # float8 has an error: it has to be so much faster
_FEWEST_PASSES = 5  # of two contenders: less time than that is too little
_KEPT = 200  # entries of the file
_PACKAGES = ("torch", "transformers", "peft", "trl", "unsloth", "triton")


@dataclass(frozen=True)
class Trial:
    """One way to compute a run, and what came of trying it."""

    micro_batch: Annotated[int, msgspec.Meta(gt=0)]
    accumulation: Annotated[int, msgspec.Meta(gt=0)]
    gradient_checkpointing: str
    float8: bool
    tokens_per_second: float = 0.0
    """Of forward and backward passes on the run's median batch, once these were settled; 0 if it
    was not measured."""
    peak: int = 0
    """Bytes, on the run's longest batch."""
    tokens: int = 0
    """Of its largest micro-batch."""
    outcome: str = ""
    """Why it cannot be chosen; "" if it can, or has not been tried."""

    @classmethod
    def of(cls, compute: Compute) -> Trial:
        return cls(**compute.settled)

    def applied(self, compute: Compute) -> Compute:
        return replace(
            compute,
            micro_batch=self.micro_batch,
            accumulation=self.accumulation,
            gradient_checkpointing=self.gradient_checkpointing,
            float8=self.float8,
        )

    @property
    def is_measured(self) -> bool:
        return self.tokens_per_second > 0 and not self.outcome

    def in_words(self) -> str:
        products = "float8" if self.float8 else "16-bit products"
        kind = self.gradient_checkpointing
        recomputing = "" if kind == "none" else f", {kind} checkpointing"
        return f"{products}, {self.micro_batch} at a time{recomputing}"


@dataclass(frozen=True)
class Trials:
    """The contenders of a run, the best prediction first; once they have been tried, the chosen one
    first."""

    of: dict[str, Any]
    """What the figures hold for."""
    contenders: list[Trial]
    run: str = ""
    """Which run has tried them; "" before."""
    seconds: float = 0.0
    """What trying them has cost."""
    t: float = 0.0
    """When, in unix seconds."""

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Trials:
        return foreign.convert(values, cls, "the trials of a plan")

    @property
    def best(self) -> Trial | None:
        """The chosen one, once they have been tried."""
        return self.contenders[0] if self.run and self.contenders[0].is_measured else None

    @property
    def are_complete(self) -> bool:
        return all(trial.is_measured or trial.outcome not in ("", NO_TIME) for trial in self.tried)

    @property
    def tried(self) -> list[Trial]:
        return self.contenders if self.run else []

    def reason(self) -> Reason:
        """Why the chosen one."""
        best, words = self.contenders[0], self.contenders[0].in_words()
        fastest = max(each.tokens_per_second for each in self.contenders if each.is_measured)
        head = f"{words[:1].upper()}{words[1:]}: {best.tokens_per_second:,.0f} tokens/s"
        text = (
            f"{head}, the quickest of {len(self.contenders)} settings that run {self.run} tried"
            " before its first step."
            if best.tokens_per_second == fastest
            else f"{head}, as run {self.run} measured before its first step; float8 would be less"
            " than 2 % faster."
        )
        return Reason("", text)


def contenders(task: Task, best: Candidate) -> list[Candidate]:
    """What is worth trying, the best prediction first: its counterpart in float8 or out of it, with
    the other kind of checkpointing, with the next micro-batches. Only what is predicted to fit."""
    # Unsloth compiles whole layers of padded batches, which hides products from float8
    fixed = task.engine == "unsloth" and not best.compute.padding_free
    fitting = sorted(
        (
            candidate
            for candidate in alternatives(task, best.compute)
            if candidate.fits and not (fixed and candidate.compute.float8 != best.compute.float8)
        ),
        key=lambda candidate: candidate.cost,
    )
    worth_trying = [
        next((candidate for candidate in fitting if candidate.compute == best.compute), best)
    ]
    for departure, dearer in _LIMITS:
        more = (
            candidate
            for candidate in fitting
            if candidate not in worth_trying
            and _departure(candidate, best) == departure
            and (are_forced() or candidate.cost <= best.cost * dearer)
        )
        worth_trying += islice(more, 1)
    return worth_trying[:_MOST]


def _departure(candidate: Candidate, best: Candidate) -> tuple[bool, bool]:
    """Whether its products are of the other kind, and its checkpointing."""
    compute = candidate.compute
    return (
        compute.float8 != best.compute.float8,
        compute.gradient_checkpointing != best.compute.gradient_checkpointing,
    )


def planned(task: Task, best: Candidate) -> Trials | None:
    """The trials of a run, or what an earlier run has measured of such a one; None
    where there is nothing to choose from."""
    key = _key(task, best.compute)
    remembered = recall(key)
    if remembered is not None:
        return remembered
    worth_trying = contenders(task, best)
    if len(worth_trying) < 2:
        return None
    return Trials(key, [Trial.of(candidate.compute) for candidate in worth_trying])


def span(contenders: Sequence[Trial]) -> int:
    """The fewest conversations that each contender cuts into whole micro-batches: what a pass is
    over."""
    return math.lcm(*(trial.micro_batch for trial in contenders))


def is_too_short(steps: int, share: float) -> bool:
    """Whether so many steps are too few for any trial, a pass being that share of a step."""
    return not are_forced() and MOST_SHARE * steps < _FEWEST_PASSES * share


def quickest(tried: Sequence[Trial]) -> Trial | None:
    """The one to choose. Float8 has an error of its own, so it must be worth it."""
    measured = [trial for trial in tried if trial.is_measured]
    exact = max(
        (trial for trial in measured if not trial.float8),
        key=lambda trial: trial.tokens_per_second,
        default=None,
    )
    best = max(measured, key=lambda trial: trial.tokens_per_second, default=None)
    if best is None or exact is None:
        return best
    return exact if best.tokens_per_second < _WORTH * exact.tokens_per_second else best


def finished(trials: Trials, tried: Sequence[Trial], run: str, seconds: float) -> Trials:
    """With what came of trying them: the chosen one first, then by speed."""
    best = quickest(tried)
    order = sorted(tried, key=lambda trial: (trial is not best, -trial.tokens_per_second))
    return replace(
        trials, contenders=order, run=run, seconds=round(seconds, 2), t=float(round(time.time()))
    )


def are_forced() -> bool:
    """Whether runs try whatever it costs, on a CPU too: LUTHIER_TRIALS=always, for tests and
    benchmarks."""
    return os.environ.get("LUTHIER_TRIALS") == "always"


def are_off() -> bool:
    """Whether no run tries, and nothing remembered counts: LUTHIER_TRIALS=never."""
    return os.environ.get("LUTHIER_TRIALS") == "never"


# ---- what is remembered


def remember(trials: Trials) -> None:
    """A newer one of the same takes the place of an older one. One that was broken off is not
    worth remembering."""
    if not trials.are_complete or trials.best is None:
        return
    home().mkdir(parents=True, exist_ok=True)
    lock = Lock(home() / "trials.lock")
    lock.acquire(wait=True)
    try:
        kept = [entry for entry in _entries() if entry.of != trials.of]
        write_json(home() / TRIALS_FILE, [asdict(entry) for entry in (*kept, trials)][-_KEPT:])
    finally:
        lock.release()


def recall(key: dict[str, Any]) -> Trials | None:
    """What was measured of that, if anything was."""
    return next((entry for entry in _entries() if entry.of == key and entry.best is not None), None)


def _entries() -> list[Trials]:
    """Those that can be read, each for itself."""
    try:
        entries = foreign_json.read(home() / TRIALS_FILE)
    except (FileNotFoundError, Damaged):
        return []
    readable = []
    for entry in entries if isinstance(entries, list) else []:
        with suppress(Damaged):
            trials = foreign.convert(entry, Trials, TRIALS_FILE)
            readable += [trials] if trials.contenders else []
    return readable


def _key(task: Task, compute: Compute) -> dict[str, Any]:
    """What decides which contender is the quickest: the shape of model and batch, what is open, the
    card and the versions."""
    shape, train, lora = task.shape, task.recipe.train, task.recipe.lora
    return {
        "model": (
            f"{shape.family}, {shape.layers} layers of {shape.hidden} and {shape.inner},"
            f" {shape.inside / 1e9:.3f}B weights, {shape.vocabulary} tokens"
        ),
        "conversations": task.conversations,
        "tokens": _about(task.lengths.mean),
        "longest": _about(task.lengths.longest),
        "method": f"{train.method}, r {lora.r}, dropout {lora.dropout:g}, targets {lora.targets}",
        "compute": (
            f"{task.engine}, {compute.base_bits}-bit, {compute.compute_dtype},"
            f" {compute.optimizer}, {compute.attention},"
            f" {'padding-free' if compute.padding_free else 'padded'}"
        ),
        "open": (
            f"micro_batch {train.micro_batch}, float8 {train.float8}, gradient_checkpointing"
            f" {train.gradient_checkpointing}"
        ),
        "card": repair.device_name(),
        "versions": ", ".join(f"{name} {_version(name)}" for name in _PACKAGES),
    }


def _about(tokens: float) -> int:
    """Within 9 %: data that has grown by a few conversations is the same."""
    return round(2 ** (round(4 * math.log2(max(1.0, tokens))) / 4))


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "-"
