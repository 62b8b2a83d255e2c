"""Reading vLLM's log: what it is doing while it starts, and why it ended."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from jobs.failure_reason import MISSING_MODULE
from jobs.files import tail_lines


@dataclass(frozen=True)
class Phase:
    """A part of the start. `seconds_left` is how long the rest of it takes from here on two CPU
    cores."""

    name: str
    seconds_left: float


READY = "ready"
"""The phase from which a server answers."""

FIRST_PHASE = Phase("starting vLLM", 36.0)
# What vLLM prints, in the order of a start, and what begins then.
_BEGINNINGS = (
    (re.compile(r"non-default args: "), Phase("reading the model's config", 24.0)),
    (re.compile(r"Initializing a V1 LLM engine "), Phase("starting the engine", 16.0)),
    (re.compile(r"Starting to load model "), Phase("loading the weights", 5.0)),
    (re.compile(r"Loading weights took "), Phase("warming up", 4.0)),
)

# Named as an error, or with its module, as a traceback has it: torch._dynamo.exc.Unsupported.
_CAUSE = re.compile(
    r"(?:\b(?=[A-Z]\w*(?:Error|Exception): )|(?<!\S)(?:[a-z_]\w*\.)+)([A-Z]\w*): (\S.*)"
)
# A failed assertion without words: what was asserted stands above it, perhaps with marks below.
_ASSERTION = "AssertionError"
_MARKS = re.compile(r"[\s^~]*")
# The errors of processes that only watched another one fail.
_SECOND_HAND = (
    "Engine core initialization failed",
    "WorkerProc initialization failed",
    "EngineCore encountered an issue",
    "Worker failed with error",
)
# pydantic says why in the line below the error; here, only that a module of vLLM's failed.
_BELOW = "validation error"
_UNINSPECTED = "failed to be inspected"
# What a forked engine says where the process that it was forked from has touched the GPU.
_FORK_FAULT = re.compile(
    r"Cannot re-initialize CUDA in forked subprocess|CUDA error: initialization error"
)
_PREFIX = re.compile(r"\(\w+ pid=\d+\) (INFO|WARNING|ERROR) [\d-]+ [\d:]+ \[[\w.]+:\d+\] ?")
# Errors of which such a line speaks ended nothing.
_NO_ERROR = ("INFO", "WARNING")
# Lines that tell nothing of why: the bodies of tracebacks, the list of routes, what a C++ library
# says of its own end.
_TELLS_NOTHING = (" ", "Traceback ", "Route: ", "nanobind:", "See https://nanobind")
_LOG_BYTES = 4_000_000


class Phases:
    """Follows a growing log and tells each phase once, in order."""

    def __init__(self, log: Path, offset: int) -> None:
        self._log = log
        self._offset = offset
        self._next = 0

    def read(self) -> list[Phase]:
        """The phases that began since the last call. A line still being written is left for
        later."""
        with self._log.open("rb") as file:
            file.seek(self._offset)
            block = file.read()
        complete_lines = block[: block.rfind(b"\n") + 1]
        self._offset += len(complete_lines)
        phases = []
        for line in complete_lines.decode("utf-8", errors="replace").splitlines():
            for index in range(self._next, len(_BEGINNINGS)):
                pattern, phase = _BEGINNINGS[index]
                if pattern.search(line):
                    phases.append(phase)
                    self._next = index + 1
                    break
        return phases


def is_second_hand(words: str) -> bool:
    """Whether they only say that another process failed."""
    return any(bystander in words for bystander in _SECOND_HAND)


def root_cause(log: Path, offset: int) -> str | None:
    """The error that ended vLLM: of the errors in the log since `offset` that are not second-hand,
    the last."""
    lines = _lines_since(log, offset)
    for index in reversed(range(len(lines))):
        line = lines[index]
        prefix = _PREFIX.match(line)
        if is_second_hand(line) or (prefix is not None and prefix[1] in _NO_ERROR):
            continue
        if _PREFIX.sub("", line, count=1) == _ASSERTION:
            return f"{_ASSERTION}: {_asserted(lines[:index])}"
        error = _CAUSE.search(line)
        if error is None:
            continue
        if _BELOW not in line:
            return f"{error[1]}: {error[2]}"
        below = lines[index + 1] if index + 1 < len(lines) else ""
        if _UNINSPECTED not in below:
            return f"{error[1]}: {below.partition(' [type=')[0].strip() or error[2]}"
    return None


def _asserted(above: list[str]) -> str:
    """The last line of a traceback's code."""
    lines = (_PREFIX.sub("", line, count=1) for line in reversed(above))
    return next((line.strip() for line in lines if not _MARKS.fullmatch(line)), "")


def missing_module(cause: str) -> str:
    """The module that vLLM could not import, if that is the cause; else ""."""
    missing = MISSING_MODULE.search(cause)
    return missing[1] if missing else ""


def died_of_fork(log: Path, offset: int) -> bool:
    """Whether the log since `offset` says that the engine could not use the GPU because it was
    forked."""
    return any(map(_FORK_FAULT.search, _lines_since(log, offset)))


def _lines_since(log: Path, offset: int) -> list[str]:
    with log.open("rb") as file:
        file.seek(max(offset, log.stat().st_size - _LOG_BYTES))
        return file.read().decode("utf-8", errors="replace").splitlines()


def last_words(log: Path, count: int = 10) -> list[str]:
    """The last lines that tell something, without what vLLM puts before each."""
    lines = [_PREFIX.sub("", line, count=1) for line in tail_lines(log, 200)]
    return [line for line in lines if line.strip() and not line.startswith(_TELLS_NOTHING)][-count:]
