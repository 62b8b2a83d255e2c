"""Text whose long lines go on below their own beginning, to the right of a label or a mark."""

from __future__ import annotations

from textual.content import Content
from textual.events import Resize

from tui.shared.steady_text import SteadyText


class HangingText(SteadyText):
    """Give it the lines with `hang`: what a line has from `indent` on stays there where it
    wraps."""

    def __init__(self, *, id: str | None = None) -> None:  # noqa: A002  # Textual's name
        super().__init__(id=id)
        self._text, self._indent = Content(""), 0

    @property
    def text(self) -> Content:
        """What it was given, a line for each line."""
        return self._text

    def hang(self, text: Content, indent: int) -> None:
        self._text, self._indent = text, indent
        self._lay_out()

    def on_resize(self, event: Resize) -> None:
        # after this layout, which would take its height of the text before
        self.call_after_refresh(self._lay_out)

    def _lay_out(self) -> None:
        width = self.content_size.width or self.container_size.width
        lines = (
            line
            for row in self._text.split(allow_blank=True)
            for line in hanging(row, self._indent, width)
        )
        self.update(Content("\n").join(lines))


def hanging(row: Content, indent: int, width: int) -> list[Content]:
    """One line of text as the lines that it takes."""
    room = width - indent
    if row.cell_length <= width or room < max(indent, 1):
        return [row]
    first, *continuations = row[indent:].wrap(room)
    return [row[:indent] + first, *(line.pad_left(indent) for line in continuations)]
