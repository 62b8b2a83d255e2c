"""What is measured of a run, and how each of these figures is drawn."""

from __future__ import annotations

from dataclasses import dataclass

from workshop.runs import ticks
from workshop.runs.ticks import Unit


@dataclass(frozen=True)
class Metric:
    """`smooth`: a noisy figure, whose smoothed line is drawn over it. `from_zero`: its axis begins
    at 0. `points`: it is told now and then, each time worth a sign of its own."""

    key: str
    title: str
    unit: Unit = "plain"
    smooth: bool = False
    from_zero: bool = False
    points: bool = False

    def exact(self, value: float | None) -> str:
        return "" if value is None else ticks.exact(value, self.unit)


LOSS = Metric("loss", "loss", smooth=True)
EVAL_LOSS = Metric("eval_loss", "eval loss", points=True)
LEARNING_RATE = Metric("learning_rate", "learning rate", from_zero=True)
GRAD_NORM = Metric("grad_norm", "grad norm", smooth=True)
TOKENS_PER_SECOND = Metric(
    "tokens_per_second", "tokens/s", unit="count", smooth=True, from_zero=True
)
MEMORY = Metric("memory_bytes", "memory", unit="bytes", from_zero=True)

METRICS = (LOSS, EVAL_LOSS, LEARNING_RATE, GRAD_NORM, TOKENS_PER_SECOND, MEMORY)

TASK_PREFIX = "eval."
"""What stands before the name of a task metric (exact match, BLEU) among a record's curves."""


def metric(key: str) -> Metric:
    """The metric of this key; a task metric's is made from its name."""
    known = {one.key: one for one in METRICS}
    return known.get(key) or Metric(
        key, key.removeprefix(TASK_PREFIX).replace("_", " "), points=True
    )


SMOOTHINGS = (1, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000)
"""The windows that can be chosen, in steps; 1 is none."""


def default_smoothing(steps: int) -> int:
    """A window of about a fortieth of the run."""
    return max((window for window in SMOOTHINGS if window <= steps / 40), default=1)
