"""A log as a person reads it: known noise of libraries folded into one line, figures in words. The
file stays as it is, and the raw lines are one key away."""

from __future__ import annotations

import re
import time
from array import array
from bisect import bisect_right
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from tui.shared.log_index import LogIndex

KEY = "i"
"""Shows the raw lines, and folds them again."""
_BITE = 1 << 18
_NOISE = re.compile(
    rb"nanobind: | - leaked (?:type|function|instance) | - \.\.\. skipped remainder"
    rb"|See https://nanobind"
    rb"|/[^:]*\.py:\d+: \w*Warning: |\[W\d{4} \d\d:"
    rb"|[^\n]* \[launcher\.py:\d+\] (?:Available routes|Route: )"
    rb"|Triton is installed, but|Failed to load CPU gemm_4bit_forward"
    rb"|[^\n]*\d+%(?: Completed )? ?\|[^\n]*(?:it|s|B)/(?:s|it)[^\n]*\]\s*$"
)
_STOPS = re.compile(rb"[^\n]* \[shutdown\] API server: shutdown triggered")
_STARTS = b"INFO:     Started server process"
_OF_VLLM = re.compile(rb"\(\w+ pid=\d+\) ")
"""Once vLLM has been asked to stop, its processes complain of each other's end."""
_PYTHON_WARNING = re.compile(rb"[^\n]*\.py:\d+: \w*Warning: ")
Words = Callable[[str], str]
"""Says a printed line in words; the same line where it has none."""


class Lines(Protocol):
    """A text by its lines."""

    def __len__(self) -> int: ...

    def lines(self, start: int, end: int) -> list[str]:
        """Lines from `start` up to `end`."""


class ReadableLog:
    """Lines by number, as LogIndex has them. `raw`: just as they were printed."""

    def __init__(self, path: Path, in_words: Words | None = None) -> None:
        self.path = path
        self.raw = False
        self._index = LogIndex(path)
        self._in_words = in_words
        self._offset = 0
        self._looked_at = 0
        self._after_warning = self._is_stopping = False
        # folded stretches of lines, and which line of this log each of them is
        self._begins, self._ends, self._places = array("Q"), array("Q"), array("Q")

    def __len__(self) -> int:
        return len(self._index) - (0 if self.raw else self._hidden)

    @property
    def _hidden(self) -> int:
        """How many lines fewer there are because of the folds."""
        if not self._begins:
            return 0
        return self._ends[-1] - self._places[-1] - 1

    def extend(self, max_seconds: float = 0.03) -> bool:
        """Look for new lines, in bounded time. True if there are any."""
        grown = self._index.extend(max_seconds)
        return self._fold(max_seconds) or grown

    def _fold(self, max_seconds: float) -> bool:
        deadline = time.monotonic() + max_seconds
        before = self._offset
        try:
            with self.path.open("rb") as file:
                file.seek(self._offset)
                while self._looked_at < len(self._index) and time.monotonic() < deadline:
                    block = file.read(_BITE)
                    if len(block) == _BITE and not block.endswith(b"\n"):
                        block += file.readline()
                    complete, newline, _ = block.rpartition(b"\n")
                    if not newline:
                        break
                    for line in complete.split(b"\n"):
                        self._judge(line)
                    self._offset += len(complete) + 1
                    file.seek(self._offset)
        except FileNotFoundError:
            return False
        return self._offset > before

    def _judge(self, line: bytes) -> None:
        number, self._looked_at = self._looked_at, self._looked_at + 1
        source = self._after_warning and line.startswith(b"  ")
        if line.startswith(_STARTS):
            self._is_stopping = False
        of_the_end = self._is_stopping and _OF_VLLM.match(line) is not None
        noise = source or of_the_end or _NOISE.match(line) is not None
        self._is_stopping = self._is_stopping or _STOPS.match(line) is not None
        self._after_warning = noise and _PYTHON_WARNING.match(line) is not None
        if not noise:
            return
        if self._ends and self._ends[-1] == number:
            self._ends[-1] += 1
            return
        self._places.append(number - self._hidden)
        self._begins.append(number)
        self._ends.append(number + 1)

    def line(self, number: int) -> str:
        return self.lines(number, number + 1)[0]

    def lines(self, start: int, end: int) -> list[str]:
        """Lines from `start` up to `end`."""
        if self.raw:
            return self._index.lines(start, end)
        return [self._readable(number) for number in range(start, end)]

    def _readable(self, number: int) -> str:
        fold = bisect_right(self._places, number) - 1
        if fold >= 0 and self._places[fold] == number:
            count = self._ends[fold] - self._begins[fold]
            is_single = count == 1
            return (
                f"{count:,} {'line' if is_single else 'lines'} of library noise"
                f" ({KEY} shows {'it' if is_single else 'them'})"
            )
        behind = 0 if fold < 0 else self._ends[fold] - self._places[fold] - 1
        line = self._index.line(number + behind)
        return line if self._in_words is None else self._in_words(line)
