"""The runs of a sweep side by side: what varies, and what came of it. Light."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from jobs.events import Event
from jobs.job import Job
from jobs.state import Done, Running, State
from models.events import EarlyStop, Step, newest
from models.runs import Run
from trainer.evaluation.history import Found, read_history
from trainer.evaluation.settings import Value, higher_is_better
from trainer.launch import frozen_recipe

# What changes the held-out conversations or the tokens that they are: losses of runs that differ in
# it do not compare.
_HELD_OUT = ("data", "heldout", "format", "policy", "mask")
_HELD_OUT_KEYS = ("train.max_length", "train.seed")


@dataclass(frozen=True)
class Row:
    """One run."""

    job: Job
    varies: dict[str, Any]
    state: State
    metric: Value
    loss: float | None
    """Of its last step."""
    best: Found | None
    """Its best evaluation so far by the recipe's `metric`."""
    last: Found | None
    """Its last evaluation."""
    seconds: float | None
    """What training took, or has taken so far."""
    early_stop: str

    @property
    def value(self) -> float | None:
        """The metric of the best evaluation."""
        return None if self.best is None else self.best.value(self.metric)


def compare(jobs: Sequence[Job]) -> list[Row]:
    return [_row(job) for job in jobs]


def winner(rows: Sequence[Row]) -> Row | None:
    """The run with the best value; None where nothing was measured, or where it was not the same
    thing."""
    measured = [row for row in rows if row.value is not None]
    if not measured or len({row.metric for row in measured}) > 1 or not_comparable(rows):
        return None
    sign = 1.0 if higher_is_better(measured[0].metric) else -1.0
    return max(measured, key=lambda row: sign * (row.value or 0.0))


def not_comparable(rows: Sequence[Row]) -> str:
    """Why the losses of these runs do not compare; "" if they do."""
    keys = [
        key
        for key in (rows[0].varies if rows else ())
        if key in _HELD_OUT_KEYS or key.partition(".")[0].partition("[")[0] in _HELD_OUT
    ]
    if keys:
        return f"{' and '.join(keys)} changes which conversations are held out"
    return "the models may count tokens differently" if rows and "model" in rows[0].varies else ""


def _row(job: Job) -> Row:
    settings = frozen_recipe(job).evaluation
    history = read_history(job.events_path, settings)
    evaluations, state = history.all(), job.state()
    events = job.events()
    step = newest(events, Step)
    loss = float(step.loss) if step is not None and step.loss is not None else None
    seconds = _elapsed(events, state)
    stop = newest(events, EarlyStop)
    early_stop = stop.reason if stop is not None else ""
    if isinstance(state, Done):
        loss, seconds = state.result.get("loss"), state.result.get("seconds")
    membership = Run(job).sweep
    varies = dict(membership.varies) if membership is not None else {}
    return Row(
        job,
        varies,
        state,
        settings.metric,
        loss,
        history.best(),
        evaluations[-1] if evaluations else None,
        seconds,
        early_stop,
    )


def _elapsed(events: Sequence[Event], state: State) -> float | None:
    """Since the worker started, while it runs."""
    if not events or not isinstance(state, Running):
        return None
    return float(events[-1]["t"]) - state.since
