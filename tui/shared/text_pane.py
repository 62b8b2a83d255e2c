"""Text to read, in one column or several, scrolled by the keys of logs."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import zip_longest

from rich.segment import Segment
from textual.content import Content
from textual.events import Resize
from textual.geometry import Size
from textual.strip import Strip
from textual.visual import Visual

from tui.shared.log_keys import LogKeys

_GAP = 3


class TextPane(LogKeys, can_focus=True):
    """Give it the columns with `show`. They share the width; where it is short of `least` a column,
    they stand below each other."""

    DEFAULT_CSS = """
    TextPane {
        height: 1fr;
        color: $foreground;
        scrollbar-size: 1 1;
        scrollbar-gutter: stable; /* what is fitted to the width stays within it */
        overflow-x: hidden;
    }
    """

    def __init__(self, least: int = 44) -> None:
        super().__init__()
        self._least = least
        self._columns: Sequence[Content] = ()
        self._lines: list[Strip] = []

    def show(self, *columns: Content) -> None:
        unchanged = len(columns) == len(self._columns) and all(
            map(Content.is_same, columns, self._columns)
        )
        if not unchanged:
            self._columns = columns
            self._lay_out()

    @property
    def text(self) -> str:
        """All that it shows."""
        return "\n".join(column.plain for column in self._columns)

    def on_resize(self, event: Resize) -> None:
        self._lay_out()

    def notify_style_update(self) -> None:
        super().notify_style_update()
        self._lay_out()

    def _lay_out(self) -> None:
        width = self.scrollable_content_region.width
        if not width:
            return
        beside = len(self._columns) > 1 and (width - _GAP) // len(self._columns) >= self._least
        if beside:
            column = (width - _GAP * (len(self._columns) - 1)) // len(self._columns)
            strips = [self._strips(content, column) for content in self._columns]
            blank, gap = (
                Strip.blank(column, self.rich_style),
                Strip([Segment(" " * _GAP, self.rich_style)]),
            )
            rows = zip_longest(*strips, fillvalue=blank)
            self._lines = [
                Strip.join(part for strip in row for part in (strip, gap)) for row in rows
            ]
        else:
            joined = Content("\n\n").join(content for content in self._columns if content.plain)
            self._lines = self._strips(joined, width)
        self.virtual_size = Size(width, len(self._lines))
        self.refresh()

    def _strips(self, content: Content, width: int) -> list[Strip]:
        return [
            strip.adjust_cell_length(width, self.rich_style)
            for strip in Visual.to_strips(self, content, width, None, self.visual_style)
        ]

    def render_line(self, y: int) -> Strip:
        number, width = y + round(self.scroll_offset.y), self.size.width
        if number >= len(self._lines):
            return Strip.blank(width, self.rich_style)
        return self._lines[number].adjust_cell_length(width, self.rich_style)
