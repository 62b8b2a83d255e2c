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
    """An attempt begins: the supervisor holds the job's lock. Only the events after the last one
    decide the job's state."""

    attempt: int = 1
    """Which attempt it is, from 1 on."""


@dataclass(frozen=True, slots=True)
class Waiting(Timed):
    """The job waits for its slots."""

    waits_for: str
    """What it waits for, in words."""
    servers: list[str] | None = None
    """The ids of the servers in its way that a person must decide about; null if there is nothing
    to decide."""


@dataclass(frozen=True, slots=True)
class AskedToSleep(Timed):
    """This job has asked a server to free its slots for a while."""

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
    """Its slots: "cpu", "gpu-0"."""


@dataclass(frozen=True, slots=True)
class Phase(Timed):
    """What the worker is doing now."""

    name: str
    """In words: "loading the model". If the job's specification names a `ready_phase`, the job
    counts as running from then on."""
    seconds_left: float | None = None
    """About how long the remaining phases take, in seconds."""
    done: float | None = None
    """How much is done."""
    total: float | None = None
    """How much there is to do."""
    unit: str | None = None
    """What `done` and `total` count: "bytes", or as the name says."""
    port: int | None = None
    """For a server that is ready: its port."""


@dataclass(frozen=True, slots=True)
class Step(Timed):
    """A step of what the job counts: an optimizer step of a run."""

    step: int
    """Its number, from 1 on."""
    total: int = 0
    """How many steps there will be."""


@dataclass(frozen=True, slots=True)
class Asleep(Timed):
    """The job has freed its slots for a while."""

    why: str = ""
    """The reason in words: for which job, or that a person asked for it."""
    by: str = ""
    """The id of the job that asked for it; "" for a person."""
    seconds: float | None = None
    """How long it took."""
    freed_bytes: float | None = None
    """How much GPU memory it freed, in bytes."""


@dataclass(frozen=True, slots=True)
class Waking(Timed):
    """The job has its slots again and is waking up."""


@dataclass(frozen=True, slots=True)
class Awake(Timed):
    """The job is awake again and runs as before."""

    seconds: float | None = None
    """How long it took to wake up."""


@dataclass(frozen=True, slots=True)
class SlotsFreed(Timed):
    """The supervisor has freed the slots of a resting job."""

    slots: list[str] = field(default_factory=list)
    """Which slots: "gpu-0"."""


@dataclass(frozen=True, slots=True)
class SlotsTaken(Timed):
    """The supervisor has taken the slots again for a job that rested."""

    slots: list[str] = field(default_factory=list)
    """Which slots: "gpu-0"."""


@dataclass(frozen=True, slots=True)
class StopRequested(Timed):
    """Somebody asked the job to stop."""

    grace_seconds: float | None = None
    """How long the worker may take before it is killed; null if it had not started."""


@dataclass(frozen=True, slots=True)
class Result(Timed):
    """The worker is done. Its other fields are the worker's result (`jobs.state.Done` has them)."""


@dataclass(frozen=True, slots=True)
class Error(Timed):
    """The worker has failed, with the reason."""

    title: str = ""
    """What happened, in a few words."""
    message: str = ""
    """Why, in sentences."""
    hint: str | None = None
    """What to do about it."""


@dataclass(frozen=True, slots=True)
class Exited(Timed):
    """The worker and all that it started have ended."""

    code: int = 0
    """The worker's exit status, negative for the signal that killed it."""
    stopped: bool = False
    """Whether somebody had asked it to stop."""
    swept: int = 0
    """How many leftover processes the supervisor ended."""


@dataclass(frozen=True, slots=True)
class ThenFailed(Timed):
    """A job that should follow this one could not start."""

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
