"""How quickly a run goes on, how long the rest of it takes, and whether it has fallen silent."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, median

from jobs.events import NEWEST_STEPS
from models import events
from workshop.number_format import duration

RECENT = NEWEST_STEPS  # those that the pace is taken from
_LATE = 2  # usual steps after which the age of the last one is worth a word
_SILENT = 5  # usual steps, and a minute more, after which a run counts as stalled
_SILENT_SECONDS = 60.0


@dataclass(frozen=True)
class TimeLeft:
    """`about`: a part of it was not measured in this run, but comes from its plan."""

    seconds: float
    about: bool = False

    def __str__(self) -> str:
        return f"{'about ' if self.about else ''}{duration(self.seconds)}"


def usual_step(steps: Sequence[int], times: Sequence[float]) -> float | None:
    """Seconds of a usual one of the last steps, told at these times; None of fewer than two. It is
    the median: an evaluation between two steps does not make the others slower."""
    steps, times = steps[-RECENT:], times[-RECENT:]
    gaps = [
        (times[index] - times[index - 1]) / (steps[index] - steps[index - 1])
        for index in range(1, len(steps))
        if steps[index] > steps[index - 1]
    ]
    return median(gaps) if gaps else None


def seconds_of_each(measured: Sequence[float], outlook: events.Evaluations) -> TimeLeft:
    """What one evaluation takes: as long as those of the run that were measured, else as its plan
    has it."""
    if measured:
        return TimeLeft(fmean(measured))
    return TimeLeft(outlook.seconds / max(1, outlook.evaluations), about=True)


def is_late(usual: float | None, age: float) -> bool:
    """Whether the last step is older than twice a usual one."""
    return usual is not None and age > _LATE * usual


def is_stalled(usual: float | None, silence: float) -> bool:
    """Whether nothing was heard of a run for five usual steps and a minute."""
    return usual is not None and silence > _SILENT * usual + _SILENT_SECONDS
