"""What happened to a run, one thing at a time: for the marks on its charts and for its timeline."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from jobs.events import Event
from models import events
from models.events import Known
from workshop.number_format import size
from workshop.runs import ticks

Kind = Literal[
    "attempt",
    "memory",
    "trials",
    "eval",
    "checkpoint",
    "repair",
    "resumed",
    "early_stop",
    "stop",
    "error",
    "result",
]
Gone = Literal["", "removed", "taken again"]


@dataclass
class Moment:
    """`title` says it in a few words, `detail` adds the rest. `gone`: a checkpoint that was
    removed, or a step that a resumed run has taken again, and so is no longer drawn."""

    t: float
    step: int
    kind: Kind
    title: str
    detail: str = ""
    best: bool = False
    gone: Gone = ""

    @property
    def on_chart(self) -> bool:
        return not self.gone and self.kind in (
            "eval",
            "checkpoint",
            "repair",
            "resumed",
            "early_stop",
        )


def moment_of(event: Known | Event, step: int, attempt: int) -> Moment | None:
    """What an event is among the things that happened, at the run's `step` and in which attempt;
    None for most events."""
    match event:
        case events.Started(t=t):
            again = "started" if attempt <= 1 else f"started again, attempt {attempt}"
            return Moment(t, step, "attempt", again)
        case events.Eval(t=t, step=at):
            return Moment(t, at, "eval", "evaluation", _measured(event))
        case events.Checkpoint(t=t, step=at, best=best):
            title = "checkpoint, the best so far" if best else "checkpoint"
            return Moment(t, at, "checkpoint", title, event.reason or "", best)
        case events.Calibrated(t=t):
            return Moment(
                t,
                step,
                "memory",
                f"memory measured: {size(event.measured)} of {size(event.room)}",
                f"predicted: {size(event.predicted)}",
            )
        case events.Trials(t=t) if event.contenders:
            title = f"settings tried: {event.chosen or 'none could be measured'}"
            return Moment(t, step, "trials", title, _tried(event.contenders))
        case events.Repair(t=t, step=at):
            return Moment(t, step if at is None else at, "repair", _repair(event), event.reason)
        case events.Resumed(t=t, step=at, differences=differences):
            changed = event.forced and differences
            return Moment(
                t,
                at,
                "resumed",
                f"resumed from step {at}" if at else "starts from the beginning: no checkpoint yet",
                f"though changed: {', '.join(differences)}" if changed else "",
            )
        case events.EarlyStop(t=t, step=at, reason=reason):
            return Moment(t, step if at is None else at, "early_stop", "stopped early", reason)
        case events.StopRequested(t=t):
            return Moment(t, step, "stop", "stop requested")
        case events.Error(t=t):
            first_line = event.message.partition("\n")[0]
            return Moment(t, step, "error", event.title or "error", first_line)
        case events.Result(t=t):
            return Moment(t, step, "result", "done")
        case _:
            return None


def _measured(event: events.Eval) -> str:
    values = {"loss": event.loss, **(event.metrics or {})}
    return "  ".join(
        f"{name} {_figure(value)}" for name, value in values.items() if value is not None
    )


def _figure(value: float | str) -> str:
    return value if isinstance(value, str) else ticks.exact(value)


def _tried(contenders: Sequence[events.Tried]) -> str:
    return "; ".join(
        f"{each.settings}: {each.outcome or f'{each.tokens_per_second or 0:,.0f} tokens/s'}"
        for each in contenders
    )


def _repair(event: events.Repair) -> str:
    if event.what == "gradient_checkpointing":
        return "out of memory: gradient checkpointing on"
    micro_batch = "?" if event.micro_batch is None else event.micro_batch
    if event.what == "evaluation_batch":
        return f"out of memory in an evaluation: {micro_batch} at a time"
    accumulation = "?" if event.accumulation is None else event.accumulation
    return f"out of memory: micro-batch {micro_batch}, accumulation {accumulation}"
