"""Text that arrives in pieces, wrapped as it comes."""

from __future__ import annotations

import re

from rich.cells import cell_len, chop_cells

from tui.shared.foreign_text import visible

# A word with the spaces around it. A line may break on either side of every wide (Chinese,
# Japanese, Korean) character.
_WIDE = (
    "\u1100-\u115f\u2e80-\u303e\u3041-\u4dbf\u4e00-\ua4cf\uac00-\ud7a3\uf900-\ufaff\uff01-\uff60"
)
_WORDS = re.compile(rf"\s*(?:[{_WIDE}]|[^\s{_WIDE}]+)\s*|\s+")


def flowing(text: str) -> str:
    """The text with nothing in it but line breaks and what can be seen; a tab is four spaces
    wherever it stands."""
    return visible(text).replace("\t", "    ")


def wrap(paragraph: str, width: int) -> list[str]:
    """The rows of one paragraph. Spaces may hang over the right edge; words wider than a row are
    cut."""
    if cell_len(paragraph) <= width:
        return [paragraph]
    rows: list[str] = []
    row, row_cells = "", 0
    for match in _WORDS.finditer(paragraph):
        word = match[0]
        cells = cell_len(word.rstrip())
        if row_cells + cells > width and row.strip():
            rows.append(row)
            row, row_cells = "", 0
        if row_cells + cells > width:
            *full, word = chop_cells(row + word.rstrip(), width)
            word += match[0][len(match[0].rstrip()) :]
            rows += full
            row, row_cells = "", 0
        row += word
        row_cells += cell_len(word)
    return [*rows, row]


class FlowingText:
    """Rows of plain text. Only the last row is ever wrapped again: a word that did not fit will not
    fit when it grows."""

    def __init__(self, width: int) -> None:
        self.width = max(1, width)
        self.rows: list[str] = [""]

    def append(self, text: str) -> int:
        """Add text at the end. Returns the first row that may have changed."""
        changed = len(self.rows) - 1
        first, *paragraphs = (self.rows[-1] + flowing(text)).split("\n")
        self.rows[-1:] = wrap(first, self.width)
        for paragraph in paragraphs:
            self.rows += wrap(paragraph, self.width)
        return changed
