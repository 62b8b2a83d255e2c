"""Dots in cells: braille where there is Unicode, one sign a cell where there is not."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

_DOTS = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))
"""Braille dots by row and column of a cell."""


@dataclass
class Cell:
    """What stands in a cell, the name of its style, and whether it is in the cursor's column."""

    text: str = " "
    style: str = "plain"
    under_cursor: bool = False


class Canvas:
    """Dots, two columns and four rows a cell, counted from the bottom left. A stroke of higher rank
    replaces what is in its cells; strokes of one rank share them, and the last one gives them its
    style."""

    def __init__(self, width: int, height: int) -> None:
        self.width, self.height = width * 2, height * 4
        self._dots = [[0] * width for _ in range(height)]
        self._ranks = [[0] * width for _ in range(height)]
        self._styles = [[""] * width for _ in range(height)]

    def vertical(self, x: int, low: int, high: int, rank: int, style: str) -> None:
        """A stroke from dot row `low` to `high`; what is outside is cut off."""
        column, bit = x // 2, x % 2
        for y in range(max(0, low), min(self.height - 1, high) + 1):
            from_top = self.height - 1 - y
            row = from_top // 4
            if rank > self._ranks[row][column]:
                self._dots[row][column], self._ranks[row][column] = 0, rank
            if rank == self._ranks[row][column]:
                self._dots[row][column] |= _DOTS[from_top % 4][bit]
                self._styles[row][column] = style

    def path(self, points: list[tuple[int, int]], rank: int, style: str) -> None:
        """A line through the points without a gap."""
        for x, y in points[:1]:
            self.vertical(x, y, y, rank, style)
        for (x0, y0), (x1, y1) in pairwise(points):
            rows = [round(y0 + (y1 - y0) * step / (x1 - x0)) for step in range(x1 - x0 + 1)]
            for step, (start, end) in enumerate(pairwise(rows), 1):
                self.vertical(x0 + step, min(start, end), max(start, end), rank, style)

    def cells(self, braille: bool) -> list[list[Cell]]:
        return [
            [
                Cell(_sign(dots, rank, braille), style) if dots else Cell()
                for dots, rank, style in zip(*rows, strict=True)
            ]
            for rows in zip(self._dots, self._ranks, self._styles, strict=True)
        ]


def _sign(dots: int, rank: int, braille: bool) -> str:
    return chr(0x2800 + dots) if braille else ".*"[rank - 1]
