"""What happened to a run, one thing at a time: for the marks on its charts and for its timeline."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from jobs.events import Event
from workshop.number_format import size
from workshop.runs import ticks

Kind = Literal[
    "attempt",
    "memory",
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
    """`what` says it in a few words, `detail` adds the rest. `gone`: a checkpoint that was removed,
    or a step that a resumed run has taken again, and so is no longer drawn."""

    t: float
    step: int
    kind: Kind
    what: str
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


def moment_of(event: Event, step: int, attempt: int) -> Moment | None:
    """What an event is among the things that happened, at the run's `step` and in which attempt;
    None for most events."""
    told = event.get("step")
    t, kind, at = (
        float(event["t"]),
        event["kind"],
        int(told) if isinstance(told, int | float) else step,
    )
    match kind:
        case "started":
            return Moment(
                t,
                step,
                "attempt",
                "started" if attempt <= 1 else f"started again, attempt {attempt}",
            )
        case "eval":
            return Moment(t, at, "eval", "evaluation", _measured(event))
        case "checkpoint":
            best = bool(event.get("best"))
            return Moment(
                t,
                at,
                "checkpoint",
                "checkpoint, the best so far" if best else "checkpoint",
                str(event.get("reason") or ""),
                best,
            )
        case "calibrated":
            taken = f"{size(event.get('measured'))} of {size(event.get('room'))}"
            return Moment(
                t,
                step,
                "memory",
                f"memory measured: {taken}",
                f"predicted: {size(event.get('predicted'))}",
            )
        case "repair":
            return Moment(t, at, "repair", _repair(event), str(event.get("reason") or ""))
        case "resumed":
            differences = [str(one) for one in event.get("differences") or []]
            detail = (
                f"though changed: {', '.join(differences)}"
                if event.get("forced") and differences
                else ""
            )
            return Moment(
                t,
                at,
                "resumed",
                f"resumed from step {at}" if at else "begins again: no checkpoint yet",
                detail,
            )
        case "early_stop":
            return Moment(t, at, "early_stop", "stopped early", str(event.get("reason") or ""))
        case "stop_requested":
            return Moment(t, step, "stop", "stop asked for")
        case "error":
            return Moment(
                t,
                step,
                "error",
                str(event.get("title") or "error"),
                str(event.get("message") or "").partition("\n")[0],
            )
        case "result":
            return Moment(t, step, "result", "done")
        case _:
            return None


def _measured(event: Event) -> str:
    metrics = event.get("metrics")
    values = {"loss": event.get("loss"), **(metrics if isinstance(metrics, dict) else {})}
    return "  ".join(
        f"{name} {_figure(value)}" for name, value in values.items() if value is not None
    )


def _figure(value: Any) -> str:
    return ticks.exact(value) if isinstance(value, int | float) else str(value)


def _repair(event: Event) -> str:
    if event.get("what") == "gradient_checkpointing":
        return "out of memory: gradient checkpointing on"
    if event.get("what") == "evaluation_batch":
        return f"out of memory in an evaluation: {event.get('micro_batch', '?')} at a time"
    return (
        f"out of memory: micro-batch {event.get('micro_batch', '?')}, accumulation"
        f" {event.get('accumulation', '?')}"
    )
