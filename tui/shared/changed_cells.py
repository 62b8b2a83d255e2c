"""Which cells of a line change: only those need to be painted."""

from __future__ import annotations

from rich.cells import get_character_cell_size
from rich.style import Style
from textual.geometry import Region
from textual.strip import Strip


def changed_cells(before: Strip, after: Strip, y: int) -> Region | None:
    """From the first cell that differs to the last one, in row `y`; None if none does."""
    if before == after:
        return None
    old, new = _cells(before), _cells(after)
    if old is None or new is None or len(old) != len(new):
        return Region(0, y, max(before.cell_length, after.cell_length), 1)
    differs = [cells[0] != cells[1] for cells in zip(old, new, strict=True)]
    if True not in differs:
        return None
    first, end = differs.index(True), len(differs) - differs[::-1].index(True)
    return Region(first, y, end - first, 1)


def _cells(strip: Strip) -> list[tuple[str, Style | None]] | None:
    """Each cell's character and style; None if a character takes two cells, or none."""
    cells = [(character, segment.style) for segment in strip for character in segment.text]
    is_plain = strip.text.isascii() or all(
        get_character_cell_size(character) == 1 for character, _ in cells
    )
    return cells if is_plain else None
