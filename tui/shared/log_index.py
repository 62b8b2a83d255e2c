"""A log file of any size, never loaded: where its lines begin, and one line at a time."""

from __future__ import annotations

import re
import time
from array import array
from pathlib import Path

from tui.shared.foreign_text import visible

_BITE = 1 << 20
_LONGEST = 4000
_ESCAPE = re.compile(r"\x1b(?:\[[0-9;?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-Z\\-_])")


class LogIndex:
    def __init__(self, path: Path) -> None:
        self.path = path
        self._starts = array("Q", [0])
        self._end = 0

    def __len__(self) -> int:
        """How many lines are known, a last one without its end included."""
        return len(self._starts) - (self._starts[-1] == self._end)

    def extend(self, max_seconds: float = 0.03) -> bool:
        """Look for new lines, in bounded time. True if there are any."""
        deadline = time.monotonic() + max_seconds
        before = self._end
        try:
            with self.path.open("rb") as file:
                file.seek(self._end)
                while block := file.read(_BITE):
                    at = block.find(b"\n")
                    while at >= 0:
                        self._starts.append(self._end + at + 1)
                        at = block.find(b"\n", at + 1)
                    self._end += len(block)
                    if time.monotonic() > deadline:
                        break
        except FileNotFoundError:
            return False
        return self._end > before

    def line(self, number: int) -> str:
        """A line as it would stand on a terminal: without escapes, and what a progress bar wrote
        last."""
        return self.lines(number, number + 1)[0]

    def lines(self, start: int, end: int) -> list[str]:
        """Lines from `start` up to `end`."""
        if start >= end:
            return []
        printed = []
        try:
            with self.path.open("rb") as file:
                for number in range(start, end):
                    first = self._starts[number]
                    last = (
                        self._starts[number + 1] - 1
                        if number + 1 < len(self._starts)
                        else self._end
                    )
                    file.seek(max(first, last - _LONGEST))
                    printed.append(printed_line(file.read(max(0, min(last - first, _LONGEST)))))
        except FileNotFoundError:  # the job was deleted while its log is looked at
            return [""] * (end - start)
        return printed


def printed_line(raw: bytes) -> str:
    """A line as it would stand on a terminal that it was printed to."""
    text = (
        _ESCAPE.sub("", raw.decode("utf-8", errors="replace").rstrip("\r"))
        .rsplit("\r", 1)[-1]
        .expandtabs(4)
    )
    return visible(text)
