"""Events: one JSON object a line, `{"t": unix seconds, "kind": ..., ...}`, appended whole."""

from __future__ import annotations

import math
import os
import time
from pathlib import Path
from typing import Any

from jobs import foreign_json
from jobs.event_kinds import PROGRESS, Step, Timed, fields_of, kind_name
from jobs.files import encoded, naming

Event = dict[str, Any]

LATEST = 253_402_300_800  # the end of the year 9999: no clock shows a later time
NEWEST_STEPS = 50
"""How many of an attempt's steps are read: nothing that is told of a job needs earlier ones."""
_LONGEST_LOOK = 1 << 20
_HEAD = 8192


class EventLog:
    """Appends to an events file. Several processes may append to the same one."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
        size = os.fstat(self._descriptor).st_size
        self._torn = size > 0 and os.pread(self._descriptor, 1, size - 1) != b"\n"

    def append(self, kind: str, **fields: Any) -> None:
        """Append one event in one write. OSError if the disk is full; the torn line is ended by the
        next append."""
        event = {
            "t": round(time.time(), 3),
            "kind": kind,
            **{key: _finite(value) for key, value in fields.items()},
        }
        line = encoded(event, allow_nan=False) + b"\n"
        if self._torn:
            line = b"\n" + line
        try:
            with naming(self.path):
                written = os.write(self._descriptor, line)
        except OSError:
            self._torn = True
            raise
        self._torn = written < len(line)
        if self._torn:
            raise OSError(
                28,
                f"only {written} of {len(line)} bytes of an event could be written",
                str(self.path),
            )

    def tell(self, event: Timed) -> None:
        """Append one event of this layer's kinds."""
        self.append(kind_name(type(event).__name__), **fields_of(event))

    def close(self) -> None:
        os.close(self._descriptor)


def _finite(value: Any) -> Any:
    """JSON has no NaN: a number that is not finite is written as its name ("nan", "inf")."""
    if isinstance(value, dict):
        return {key: _finite(part) for key, part in value.items()}
    if isinstance(value, list):
        return [_finite(part) for part in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def parse_line(line: bytes) -> Event | None:
    """The event in a whole line, or None if it is none: torn by a crash, or not ours. Its fields
    may be anything: `jobs.event_kinds` and `models.events` read them by kind."""
    try:
        event = foreign_json.decode_object(line, "an event")
        foreign_json.check(event, {"t": float, "kind": str}, "an event")
    except foreign_json.Damaged:
        return None
    return event if "kind" in event and 0 <= event.get("t", -1) < LATEST else None


class Follower:
    """Reads a growing events file: new whole lines only, in bounded bites."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.skipped = 0
        self._offset = 0

    def read(self, max_records: int = 2000, max_seconds: float = 0.05) -> list[Event]:
        """The next events, oldest first. Empty when there is nothing new; a torn last line is left
        for later."""
        deadline = time.monotonic() + max_seconds
        events: list[Event] = []
        try:
            with self.path.open("rb") as file:
                if os.fstat(file.fileno()).st_size <= self._offset:
                    return events
                file.seek(self._offset)
                for line in file:
                    if not line.endswith(b"\n"):
                        break
                    self._offset += len(line)
                    event = parse_line(line)
                    if event is not None:
                        events.append(event)
                    elif line.strip():
                        self.skipped += 1
                    if len(events) >= max_records or time.monotonic() > deadline:
                        break
        except FileNotFoundError:
            return events
        return events


def last_attempt(path: Path, max_bytes: int = 65_536) -> list[Event]:
    """The newest events, back to the last `queued` (which begins an attempt) or about `max_bytes`,
    further if none of these tells what the job does, but never more than a megabyte; oldest first,
    without earlier steps than the last `NEWEST_STEPS`.

    Enough to tell a job's state: what decides it stands at the end, and `queued`, `started` at the
    beginning of the file. That of a long file is read where the end tells of neither.
    """
    telling = [_mark(kind) for kind in PROGRESS]
    head = b""
    try:
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            length = min(size, _HEAD)
            while True:
                file.seek(size - length)
                block = file.read(length)
                enough = length >= max_bytes and any(kind in block for kind in telling)
                if (
                    length == size
                    or enough
                    or length >= _LONGEST_LOOK
                    or b'"kind": "queued"' in block
                ):
                    break
                length = min(size, length * 4, _LONGEST_LOOK)
            if length < size and length >= _LONGEST_LOOK:
                file.seek(0)
                head = file.read(_HEAD)
    except FileNotFoundError:
        return []
    lines = block.split(b"\n")
    events = _events(lines[:-1] if length == size else lines[1:-1])
    starts = [index for index, event in enumerate(events) if event["kind"] == "queued"]
    if starts:
        return events[starts[-1] :]
    return [
        event for event in _events(head.split(b"\n")[:-1]) if event["kind"] in ("queued", "started")
    ] + events


def _events(lines: list[bytes]) -> list[Event]:
    mark, steps = _mark(Step), 0
    kept_lines = []
    for line in reversed(lines):
        is_step = mark in line
        steps += is_step
        if not is_step or steps <= NEWEST_STEPS:
            kept_lines.append(line)
    return [event for event in map(parse_line, reversed(kept_lines)) if event is not None]


def _mark(kind: type[Timed]) -> bytes:
    """What the lines of a kind have in them."""
    return f'"kind": "{kind_name(kind.__name__)}"'.encode()
