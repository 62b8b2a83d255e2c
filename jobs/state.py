"""A job's state: derived from its lock and its last events, never stored."""

from __future__ import annotations

import signal
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, assert_never

from jobs.events import PROGRESS, Event
from jobs.spec import Kind


@dataclass(frozen=True)
class Queued:
    since: float
    waits_for: str = ""


@dataclass(frozen=True)
class Starting:
    since: float
    phase: str


@dataclass(frozen=True)
class Running:
    since: float
    step: int = 0
    total: int = 0


@dataclass(frozen=True)
class Asleep:
    """A server that has let go of its GPU for a while, and says `why`. `waking`: it has the GPU
    again."""

    since: float
    why: str
    waking: bool = False


@dataclass(frozen=True)
class Stopping:
    since: float


@dataclass(frozen=True)
class Done:
    at: float
    result: dict[str, Any]


@dataclass(frozen=True)
class Stopped:
    at: float


@dataclass(frozen=True)
class Failed:
    """`code` is the worker's exit status, negative for the signal that killed it."""

    at: float
    code: int
    title: str
    message: str
    hint: str


@dataclass(frozen=True)
class Lost:
    """The supervisor is gone and nothing says how it ended: a reboot, or its kill -9. `waited`: it
    was still in the queue."""

    at: float
    waited: bool = False


State = Queued | Starting | Running | Asleep | Stopping | Done | Stopped | Failed | Lost
Alive = Queued | Starting | Running | Asleep | Stopping


def derive(
    kind: Kind,
    held: bool,
    events: Sequence[Event],
    created: float,
    now: float,
    log_tail: Sequence[str] = (),
) -> State:
    """The state of a job whose lock is `held` or not, from its last attempt's events.

    `created` is when spec.json was written: a job younger than 10 s that nobody holds yet is still
    being started.
    """
    if not held:
        return _ended(events, created, now, log_tail)
    ended = next(
        (index for index, event in enumerate(events) if event["kind"] == "exited"), len(events)
    )
    events = events[:ended]  # as it was: the supervisor still has to start what follows
    queued = next((event for event in events if event["kind"] == "queued"), None)
    started = next((event for event in events if event["kind"] == "started"), None)
    stop = next((event for event in reversed(events) if event["kind"] == "stop_requested"), None)
    if stop is not None:
        return Stopping(since=stop["t"])
    progress = next((event for event in reversed(events) if event["kind"] in PROGRESS), None)
    since = (started or progress or {"t": created})["t"]
    if progress is None and started is None:
        waits_for = next(
            (event["waits_for"] for event in reversed(events) if event["kind"] == "waiting"), ""
        )
        return Queued(since=(queued or {"t": created})["t"], waits_for=waits_for)
    step = next((event for event in reversed(events) if event["kind"] == "step"), None)
    if step is not None:
        return Running(since=since, step=step["step"], total=step.get("total", 0))
    if progress is not None and progress["kind"] in ("asleep", "waking"):
        return Asleep(
            since=progress["t"],
            why=str(progress.get("why", "")),
            waking=progress["kind"] == "waking",
        )
    phase = str(progress.get("name", "")) if progress is not None else ""
    if kind == "server" and (
        phase == "ready" or (progress is not None and progress["kind"] == "awake")
    ):
        return Running(since=since)
    return Starting(since=since, phase=phase or "starting")


def _ended(events: Sequence[Event], created: float, now: float, log_tail: Sequence[str]) -> State:
    exited = next((event for event in reversed(events) if event["kind"] == "exited"), None)
    if exited is None:
        if not events and abs(now - created) < 10:  # clocks are set back at times
            return Queued(since=created)
        waited = bool(events) and all(
            event["kind"] in ("queued", "waiting", "asked_to_sleep") for event in events
        )
        return Lost(at=events[-1]["t"] if events else created, waited=waited)
    at, code = exited["t"], exited.get("code", 0)
    result = next((event for event in reversed(events) if event["kind"] == "result"), None)
    error = next((event for event in reversed(events) if event["kind"] == "error"), None)
    if code == 0 and result is not None:
        return Done(
            at=at, result={key: value for key, value in result.items() if key not in ("t", "kind")}
        )
    if error is not None:
        return Failed(
            at, code, error.get("title", ""), error.get("message", ""), error.get("hint") or ""
        )
    if exited.get("stopped"):
        return Stopped(at=at)
    tail = "\n".join(log_tail)
    if code < 0:
        return Failed(
            at,
            code,
            f"Killed by {_signal_name(-code)}",
            tail or "It left no log.",
            "The log may tell more.",
        )
    if code == 0:
        return Failed(
            at, code, "Ended without a result", tail or "It left no log.", "The log may tell more."
        )
    return Failed(
        at, code, f"Exit status {code}", tail or "It left no log.", "The log may tell more."
    )


def _signal_name(number: int) -> str:
    return signal.Signals(number).name if number in set(signal.Signals) else f"signal {number}"


def word(state: State) -> str:
    """The state in one word, as the command line and the app say it."""
    match state:
        case Queued():
            return "queued"
        case Starting():
            return "starting"
        case Running():
            return "running"
        case Asleep():
            return "asleep"
        case Stopping():
            return "stopping"
        case Done():
            return "done"
        case Stopped():
            return "stopped"
        case Failed():
            return "failed"
        case Lost():
            return "lost"
    assert_never(state)
