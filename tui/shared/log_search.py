"""Looking for a text in a log of any size: which of its lines have it, found in bounded bites as
the log grows."""

from __future__ import annotations

import re
import time
from array import array
from bisect import bisect_left, bisect_right

from tui.shared.readable_log import Lines

_LINES = 500  # at once


class LogSearch:
    """Lines that have a text, capitals and small letters alike. `lines` are their numbers,
    rising."""

    def __init__(self, index: Lines, text: str) -> None:
        self.text = text
        self.lines = array("Q")
        self._index = index
        self._pattern = re.compile(re.escape(text), re.IGNORECASE)
        self._looked_at = 0

    @property
    def whole(self) -> bool:
        return self._looked_at >= len(self._index)

    def extend(self, max_seconds: float = 0.03) -> bool:
        """Look at lines not yet looked at, in bounded time. True if something was found."""
        deadline = time.monotonic() + max_seconds
        before = len(self.lines)
        while not self.whole and time.monotonic() < deadline:
            end = min(len(self._index), self._looked_at + _LINES)
            for number, line in zip(
                range(self._looked_at, end), self._index.lines(self._looked_at, end), strict=True
            ):
                if self._pattern.search(line):
                    self.lines.append(number)
            self._looked_at = end
        return len(self.lines) > before

    def look_again_from(self, line: int) -> None:
        """A line that had no end has gone on."""
        self._looked_at = min(self._looked_at, line)
        del self.lines[bisect_left(self.lines, line) :]

    def after(self, line: int) -> int | None:
        """The first line with the text below this one; the first of all if there is none below."""
        if not self.lines:
            return None
        index = bisect_right(self.lines, line)
        return self.lines[index if index < len(self.lines) else 0]

    def before(self, line: int) -> int | None:
        """The last line with the text above this one; the last of all if there is none above."""
        if not self.lines:
            return None
        return self.lines[bisect_left(self.lines, line) - 1]

    def number_of(self, line: int) -> int:
        """Which of the found lines this is, counted from 1; 0 if it is none."""
        index = bisect_left(self.lines, line)
        return index + 1 if index < len(self.lines) and self.lines[index] == line else 0

    def places(self, line: str) -> list[tuple[int, int]]:
        """Where in a line the text stands."""
        return [match.span() for match in self._pattern.finditer(line)]
