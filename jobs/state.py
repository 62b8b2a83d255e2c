"""A job's state: derived from its lock and its last events, never stored."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, assert_never

from jobs import event_kinds as kinds
from jobs import failure_reason
from jobs.event_kinds import first, newest
from jobs.events import Event


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
    ready_phase: str,
    is_supervised: bool,
    events: Sequence[Event],
    created: float,
    now: float,
    log_tail: Sequence[str] = (),
) -> State:
    """The state of a job whose lock is `held` or not, from its last attempt's events. `ready_phase`
    is its spec's.

    `created` is when spec.json was written: a job younger than 10 s that nobody holds yet is still
    being started.
    """
    if not is_supervised:
        return _ended(events, created, now, log_tail)
    ended = next(
        (index for index, event in enumerate(events) if event["kind"] == "exited"), len(events)
    )
    events = events[:ended]  # as it was: the supervisor still has to start what follows
    stop = newest(events, kinds.StopRequested)
    if stop is not None:
        return Stopping(since=stop.t)
    started = first(events, kinds.Started)
    progress = newest(events, *kinds.PROGRESS)
    if progress is None and started is None:
        queued, waiting = first(events, kinds.Queued), newest(events, kinds.Waiting)
        return Queued(
            since=created if queued is None else queued.t,
            waits_for="" if waiting is None else waiting.waits_for,
        )
    begun = started or progress
    since = created if begun is None else begun.t
    step = newest(events, kinds.Step)
    if step is not None:
        return Running(since=since, step=step.step, total=step.total)
    match progress:
        case kinds.Asleep(t=t, why=why):
            return Asleep(since=t, why=why)
        case kinds.Waking(t=t):
            return Asleep(since=t, why="", waking=True)
        case kinds.Awake() if ready_phase:
            return Running(since=since)
        case kinds.Phase(name=phase) if phase and phase == ready_phase:
            return Running(since=since)
        case kinds.Phase(name=phase):
            return Starting(since=since, phase=phase or "starting")
        case _:
            return Starting(since=since, phase="starting")


def _ended(events: Sequence[Event], created: float, now: float, log_tail: Sequence[str]) -> State:
    exited = newest(events, kinds.Exited)
    if exited is None:
        if not events and abs(now - created) < 10:  # clocks are set back at times
            return Queued(since=created)
        waited = bool(events) and all(
            event["kind"] in ("queued", "waiting", "asked_to_sleep") for event in events
        )
        return Lost(at=events[-1]["t"] if events else created, waited=waited)
    at, code = exited.t, exited.code
    result = next((event for event in reversed(events) if event["kind"] == "result"), None)
    error = newest(events, kinds.Error)
    if code == 0 and result is not None:
        return Done(
            at=at, result={key: value for key, value in result.items() if key not in ("t", "kind")}
        )
    if error is None and exited.stopped:
        return Stopped(at=at)
    reason = failure_reason.of_exit(code, error, log_tail)
    return Failed(at, code, reason.title, reason.message, reason.hint)


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
