"""Events: one JSON object a line, `{"t": unix seconds, "kind": ..., ...}`, appended whole."""

from __future__ import annotations

import math
import os
import time
from pathlib import Path
from typing import Any, Literal

from jobs import foreign_json
from jobs.files import encoded, naming

Event = dict[str, Any]

PROGRESS = ("step", "phase", "asleep", "waking", "awake")
"""The kinds that say what a job does now."""

LATEST = 253_402_300_800  # the end of the year 9999: no clock shows a later time
_LONGEST_LOOK = 1 << 20
_HEAD = 8192

# a number that is not finite is written as its name
_Figure = float | Literal["nan", "inf", "-inf"] | None
_LEDGER = {
    **dict.fromkeys(("rows", "tokens"), dict[str, int]),
    **dict.fromkeys(("total_rows", "total_tokens"), int),
    "reasons": dict[str, dict[str, int]],
}
_FIELDS: dict[str, dict[str, Any]] = {
    "queued": {"attempt": int},
    "waiting": {"waits_for": str, "servers": list[str]},
    "asked_to_sleep": {"server": str},
    "started": {"pid": int, "slots": list[str]},
    "phase": {"name": str, "done": float, "total": float, "unit": str, "seconds_left": float},
    "step": {
        "step": int,
        "total": int,
        **dict.fromkeys(
            (
                "loss",
                "learning_rate",
                "grad_norm",
                "tokens_per_second",
                "memory_bytes",
                "epoch",
                "tokens",
            ),
            _Figure,
        ),
    },
    "eval": {"step": int, "epoch": _Figure, "loss": _Figure, "metrics": dict[str, _Figure] | None},
    "checkpoint": {"step": int, "path": str, "reason": str | None, "best": bool},
    "checkpoint_removed": {"step": int},
    "sample": {"step": int, "index": int, "prompt": str, "reference": str | None, "answer": str},
    "early_stop": {"step": int, "reason": str},
    "resumed": {"step": int, "differences": list[str]},
    "repair": {"step": int, "what": str, "reason": str},
    "asleep": {"why": str, "freed_bytes": float, "seconds": float},
    "sleep_refused": {"message": str},
    "awake": {"seconds": float},
    "adapter": {"name": str, "path": str, "ok": bool, "message": str},
    "restart": {"number": int, "most": int, "reason": str, "seconds": float},
    "slots_freed": {"slots": list[str]},
    "slots_taken": {"slots": list[str]},
    "plan": {
        **dict.fromkeys(("steps", "global_batch", "micro_batch", "accumulation"), int),
        "epochs": float,
    },
    "data": {
        **dict.fromkeys(
            ("tokens", "trained_tokens", "conversations", "train", "heldout", "longest"), int | None
        ),
        "ledger": _LEDGER,
    },
    "template": {"checks": list[dict[str, Any]], "stop_ids": list[int]},
    "calibrated": dict.fromkeys(("measured", "room", "predicted"), float | None),
    "error": {"title": str, "message": str, "hint": str | None},
    "exited": {"code": int, "stopped": bool, "swept": int},
}
"""The types of what readers ask events of each kind for. A kind that is not here passes as it
is."""
_NEEDED = {
    "phase": ("name",),
    "waiting": ("waits_for",),
    "step": ("step",),
    "eval": ("step",),
    "early_stop": ("reason",),
    "resumed": ("step",),
}


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

    def close(self) -> None:
        os.close(self._descriptor)


def _finite(value: Any) -> Any:
    """JSON has no NaN: a number that is not finite is written as its name ("nan", "inf")."""
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def parse_line(line: bytes) -> Event | None:
    """The event in a whole line, or None if it is none: torn by a crash, not ours, or with fields
    of other types than its kind has."""
    try:
        event = foreign_json.decode_object(line, "an event")
        foreign_json.check(event, {"t": float, "kind": str}, "an event")
        kind = event["kind"]
        foreign_json.check(event, _FIELDS.get(kind, {}), "an event")
    except (foreign_json.Damaged, KeyError):
        return None
    whole = (
        "t" in event
        and 0 <= event["t"] < LATEST
        and all(name in event for name in _NEEDED.get(kind, ()))
    )
    return event if whole else None


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
    further if none of these tells what the job does, but never more than a megabyte; oldest first.

    Enough to tell a job's state: what decides it stands at the end, and `queued`, `started` at the
    beginning of the file. That of a long file is read where the end tells of neither.
    """
    telling = [f'"kind": "{kind}"'.encode() for kind in PROGRESS]
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
    return [event for event in map(parse_line, lines) if event is not None]
