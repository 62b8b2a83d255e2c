"""Figures under each other: a muted name on the left, the value flush right, so that nothing
jumps."""

from __future__ import annotations

from textual.content import Content
from textual.events import Resize
from textual.geometry import Size
from textual.strip import Strip
from textual.visual import Visual
from textual.widget import Widget

from tui.shared.changed_cells import changed_cells


class Figures(Widget):
    """By the line API: only what has changed is painted."""

    ALLOW_SELECT = False

    def __init__(self) -> None:
        super().__init__()
        self._pairs: list[tuple[str, str]] = []

    def show(self, pairs: list[tuple[str, str]]) -> None:
        before, self._pairs = self._pairs, list(pairs)
        if len(before) != len(pairs):
            self.refresh(layout=True)
            return
        if not self.size.width:  # hidden: it is painted whole when it gets its room
            return
        for y, (old, new) in enumerate(zip(before, pairs, strict=True)):
            if old != new and (region := changed_cells(self._strip(old), self._strip(new), y)):
                self.refresh(region)

    def get_content_height(self, container: Size, viewport: Size, width: int) -> int:
        return len(self._pairs)

    def on_resize(self, event: Resize) -> None:
        self.refresh()

    @property
    def text(self) -> str:
        """All that it shows, a line each."""
        return "\n".join(self._line(*pair).plain for pair in self._pairs)

    def _line(self, name: str, value: str) -> Content:
        width = self.size.width
        content = Content(value).truncate(max(1, width - len(name) - 1), ellipsis=True)
        gap = " " * (width - len(name) - content.cell_length)
        return Content.assemble((name, "$foreground-muted"), gap, content)

    def render_line(self, y: int) -> Strip:
        width = self.size.width
        if y >= len(self._pairs):
            return Strip.blank(width, self.rich_style)
        return self._strip(self._pairs[y])

    def _strip(self, pair: tuple[str, str]) -> Strip:
        return Visual.to_strips(self, self._line(*pair), self.size.width, 1, self.visual_style)[0]
