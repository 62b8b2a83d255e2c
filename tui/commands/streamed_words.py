"""Text that comes in pieces, for a terminal: no line ends within a word."""

from __future__ import annotations

import re

from rich.cells import cell_len

_PARTS = re.compile(r"\n|[^\S\n]+|\S+")
_LONGEST_HELD = 20  # cells: a script without spaces, or an address, does not wait for its end


class StreamedWords:
    """The last word is held back until it is known to be whole, so that one that does not fit can
    begin the next line."""

    def __init__(self, width: int) -> None:
        self._width = width
        self._column = 0
        self._gap = ""
        self._word = ""
        self._goes_on = False
        """Whether the beginning of this word has been given out already."""

    def take(self, text: str) -> str:
        """What is to be printed now that this piece has come."""
        printed = []
        for part in _PARTS.findall(text):
            if not part.isspace():
                self._word += part
                if cell_len(self._word) > _LONGEST_HELD:
                    printed.append(self._placed())
                    self._goes_on = True
                continue
            printed.append(self.rest())
            if part == "\n":
                self._column, self._gap = 0, ""
                printed.append(part)
            else:
                self._gap += part
        return "".join(printed)

    def rest(self) -> str:
        """The word that is held back, which is whole."""
        printed = self._placed() if self._word else ""
        self._goes_on = False
        return printed

    def _placed(self) -> str:
        gap, word = self._gap, self._word
        self._gap = self._word = ""
        end = self._column + len(gap) + cell_len(word)
        if end > self._width and self._column and not self._goes_on:
            self._column = cell_len(word) % self._width
            return f"\n{word}"
        self._column = end if end <= self._width else end % self._width
        return gap + word
