"""What is measured of a run, and how each of these figures is drawn."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from operator import attrgetter
from typing import Any

from models.events import Eval, Step
from workshop import number_format
from workshop.runs import ticks
from workshop.runs.ticks import Unit


@dataclass(frozen=True)
class Metric:
    """A figure of a run: where it comes from, and how it is drawn and written. A new one of a step
    is a field of models.events.Step and an entry of FIGURES."""

    key: str
    """Its name among a record's curves, and its column of a CSV file. Of a step's figure, its field
    of the event, too."""
    title: str
    """Its label."""
    event: type[Step | Eval] = Step
    """The kind of events that tell it."""
    field: str = ""
    """Its field of the event, where that has another name."""
    unit: Unit = "plain"
    smooth: bool = False
    """It is noisy: its smoothed line is drawn over it."""
    from_zero: bool = False
    """Its axis begins at 0."""
    points: bool = False
    """It is told now and then, each time worth a sign of its own."""
    charted: bool = True
    """Whether there is a chart of it."""
    optional: bool = False
    """Whether it is left out beside the charts where it has no value."""
    rare: bool = False
    """Only some runs have it: elsewhere it has no chart and no place beside the charts."""
    short: Callable[[float], str] | None = None
    """How its value is written beside the charts; as exactly as can be if that is None."""

    @property
    def value_of(self) -> Callable[[Any], Any]:
        """Takes it from an event."""
        return attrgetter(self.field or self.key)

    def exact(self, value: float | None) -> str:
        return "" if value is None else ticks.exact(value, self.unit)

    def text(self, value: float | None) -> str:
        """Its value as it stands beside the charts."""
        return self.exact(value) if value is None or self.short is None else self.short(value)


def _fixed(value: float) -> str:
    return f"{value:.2f}"


def _signed(value: float) -> str:
    return f"{value:+.3f}"


def _share(value: float) -> str:
    return f"{100 * value:.0f} %"


LOSS = Metric("loss", "loss", smooth=True, short=number_format.loss)
EVAL_LOSS = Metric(
    "eval_loss", "eval loss", event=Eval, field="loss", points=True, short=number_format.loss
)
PREFERENCES = (
    Metric("reward_margin", "reward margin", smooth=True, optional=True, rare=True, short=_signed),
    Metric(
        "reward_accuracy",
        "reward accuracy",
        smooth=True,
        from_zero=True,
        optional=True,
        rare=True,
        short=_share,
    ),
    Metric("reward_chosen", "chosen reward", smooth=True, optional=True, rare=True, short=_signed),
    Metric(
        "reward_rejected", "rejected reward", smooth=True, optional=True, rare=True, short=_signed
    ),
    Metric("kl", "KL", smooth=True, from_zero=True, optional=True, rare=True, short=_fixed),
)
"""What is told of runs that learn preferences."""
SAMPLES = (
    Metric(
        "sample_length",
        "answer length",
        smooth=True,
        from_zero=True,
        optional=True,
        rare=True,
        short=number_format.count,
    ),
    Metric(
        "sample_stopped",
        "answers that stop",
        smooth=True,
        from_zero=True,
        optional=True,
        rare=True,
        short=_share,
    ),
    Metric(
        "sampler_difference",
        "sampler off by",
        from_zero=True,
        optional=True,
        rare=True,
        short=number_format.loss,
    ),
)
"""What is told of runs that learn from their own answers."""
FIGURES = (
    Metric("epoch", "epoch", charted=False, short=_fixed),
    LOSS,
    EVAL_LOSS,
    Metric("learning_rate", "learning rate", from_zero=True, short=number_format.rate),
    Metric("grad_norm", "grad norm", smooth=True, short=_fixed),
    Metric(
        "tokens_per_second",
        "tokens/s",
        unit="count",
        smooth=True,
        from_zero=True,
        short=number_format.count,
    ),
    Metric("tensor_bytes", "tensor memory", unit="bytes", from_zero=True, optional=True),
    *PREFERENCES,
    *SAMPLES,
    Metric("tokens", "tokens", charted=False, optional=True, short=number_format.count),
)
"""What is told of runs, in the order in which it stands beside the charts."""

METRICS = tuple(metric for metric in FIGURES if metric.charted)
STEP_FIGURES = tuple(metric for metric in FIGURES if metric.event is Step)
EVAL_FIGURES = tuple(metric for metric in FIGURES if metric.event is Eval)
COLUMNS = tuple(
    metric.key
    for metric in sorted(FIGURES, key=lambda metric: (metric.charted, metric.event is Eval))
)
"""The columns of a CSV file: what counts first, then the steps' figures, then the evaluations'."""

TASK_PREFIX = "eval."
"""What stands before the name of a task metric (exact match, BLEU) among a record's curves."""


def metric(key: str) -> Metric:
    """The metric of this key; a task metric's is made from its name."""
    by_key = {listed.key: listed for listed in METRICS}
    return by_key.get(key) or Metric(
        key, key.removeprefix(TASK_PREFIX).replace("_", " "), points=True
    )


SMOOTHINGS = (1, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000)
"""The windows that can be chosen, in steps; 1 is none."""


def default_smoothing(steps: int) -> int:
    """A window of about a fortieth of the run."""
    return max((window for window in SMOOTHINGS if window <= steps / 40), default=1)
