"""The kinds of events that this layer writes or tells a job's state from.

Each is a class whose name is the kind (`StopRequested` is "stop_requested"). What runs inside a job
writes more kinds; `models.events` has those, and reads them all.
"""

from __future__ import annotations

import math
import re
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import MISSING, asdict, dataclass, field, fields
from functools import cache
from typing import Any, TypeVar, cast, get_type_hints

from jobs import foreign_json


@dataclass(frozen=True, slots=True, kw_only=True)
class Timed:
    """An event of any kind."""

    t: float = math.nan
    """When the event was appended, in unix seconds. The log writes it; writers leave it out."""


@dataclass(frozen=True, slots=True)
class Queued(Timed):
    """An attempt begins: the supervisor holds the job's lock. A state is told from the events after
    the last one."""

    attempt: int = 1
    """Which attempt it is, from 1 on."""


@dataclass(frozen=True, slots=True)
class Waiting(Timed):
    """The job waits for its slots."""

    waits_for: str
    """What for, in words."""
    servers: list[str] | None = None
    """The ids of the jobs in its way about which a person is to decide; null if nothing is
    asked."""


@dataclass(frozen=True, slots=True)
class AskedToSleep(Timed):
    """A job in the way was asked to let go of its slots for a while."""

    server: str
    """Its id."""


@dataclass(frozen=True, slots=True)
class Started(Timed):
    """The worker was started."""

    pid: int = 0
    """The worker's process."""
    shim: int = 0
    """The supervisor's process."""
    argv: list[str] = field(default_factory=list)
    """The worker's command line."""
    slots: list[str] = field(default_factory=list)
    """The slots that it has: "cpu", "gpu-0"."""


@dataclass(frozen=True, slots=True)
class Phase(Timed):
    """What the worker does now."""

    name: str
    """In words: "loading the model". A job whose orders name a `ready_phase` runs from that on."""
    seconds_left: float | None = None
    """About how long the phases that are left take, in seconds."""
    done: float | None = None
    """How much of it is done."""
    total: float | None = None
    """How much there is to do."""
    unit: str | None = None
    """What `done` and `total` count: "bytes", or as the name says."""
    port: int | None = None
    """Of a server that is ready: where it answers."""


@dataclass(frozen=True, slots=True)
class Step(Timed):
    """A step of what the job counts: an optimizer step of a run."""

    step: int
    """Its number, from 1 on."""
    total: int = 0
    """How many there will be."""


@dataclass(frozen=True, slots=True)
class Asleep(Timed):
    """The job has let go of its slots for a while."""

    why: str = ""
    """In words: for which job, or that a person asked."""
    by: str = ""
    """The id of the job that asked for it; "" for a person."""
    seconds: float | None = None
    """How long it took."""
    freed_bytes: float | None = None
    """GPU memory that it has freed."""


@dataclass(frozen=True, slots=True)
class Waking(Timed):
    """The job has its slots again, and is getting ready."""


@dataclass(frozen=True, slots=True)
class Awake(Timed):
    """The job runs as before it slept."""

    seconds: float | None = None
    """How long it took to wake up."""


@dataclass(frozen=True, slots=True)
class SlotsFreed(Timed):
    """The supervisor has let go of the slots of a job that rests."""

    slots: list[str] = field(default_factory=list)
    """Which: "gpu-0"."""


@dataclass(frozen=True, slots=True)
class SlotsTaken(Timed):
    """The supervisor has taken slots again for a job that rested."""

    slots: list[str] = field(default_factory=list)
    """Which: "gpu-0"."""


@dataclass(frozen=True, slots=True)
class StopRequested(Timed):
    """Somebody asked the job to stop."""

    grace_seconds: float | None = None
    """How long the worker has for it before it is killed; null if it had not started."""


@dataclass(frozen=True, slots=True)
class Result(Timed):
    """The worker has done what it was to do. Its other fields are what the worker returned
    (`jobs.state.Done` has them)."""


@dataclass(frozen=True, slots=True)
class Error(Timed):
    """The worker has failed, and says why."""

    title: str = ""
    """What happened, in a few words."""
    message: str = ""
    """Why, in sentences."""
    hint: str | None = None
    """What can be done about it."""


@dataclass(frozen=True, slots=True)
class Exited(Timed):
    """The worker and all that it started have ended."""

    code: int = 0
    """The worker's exit status, negative for the signal that killed it."""
    stopped: bool = False
    """Whether somebody had asked for it."""
    swept: int = 0
    """How many processes the worker had left running, and the supervisor ended."""


@dataclass(frozen=True, slots=True)
class ThenFailed(Timed):
    """A job that was to follow this one could not be started."""

    name: str = ""
    """Its name."""
    message: str = ""
    """Why."""


PROGRESS = (Step, Phase, Asleep, Waking, Awake)
"""What says what a job does now."""

T = TypeVar("T", bound=Timed)


def kind_name(class_name: str) -> str:
    """The kind of a class: "StopRequested" is "stop_requested"."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", class_name).lower()


def as_kind(event: Mapping[str, Any], kind: type[T]) -> T | None:
    """The event as this kind; None if it is of another one, or has not the fields of its kind."""
    if event["kind"] != kind_name(kind.__name__):
        return None
    types, required = _fields(cast(Hashable, kind))
    values = {name: event[name] for name in types if name in event}
    fitting = all(foreign_json.fits(value, types[name]) for name, value in values.items())
    return kind(**values) if fitting and required <= values.keys() else None


def first(events: Iterable[Mapping[str, Any]], *kinds: type[T]) -> T | None:
    """The first event of these kinds, as what it is."""
    by_name = {kind_name(kind.__name__): kind for kind in kinds}
    candidates = (event for event in events if event["kind"] in by_name)
    read = (as_kind(event, by_name[event["kind"]]) for event in candidates)
    return next((event for event in read if event is not None), None)


def newest(events: Sequence[Mapping[str, Any]], *kinds: type[T]) -> T | None:
    """The last event of these kinds, as what it is."""
    return first(reversed(events), *kinds)


def fields_of(event: Timed) -> dict[str, Any]:
    """What is written of an event besides its time and kind; what is None is left out."""
    return {
        name: value for name, value in asdict(event).items() if name != "t" and value is not None
    }


@cache
def _fields(kind: Any) -> tuple[dict[str, Any], frozenset[str]]:
    """The types of a kind's fields, and the names of those that must be there."""
    hints = get_type_hints(kind)
    required = frozenset(
        entry.name
        for entry in fields(kind)
        if entry.default is MISSING and entry.default_factory is MISSING
    )
    return {entry.name: hints[entry.name] for entry in fields(kind)}, required
