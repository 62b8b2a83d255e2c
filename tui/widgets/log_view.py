"""A growing log by the line API. It follows the end until the reader scrolls up."""

from __future__ import annotations

from pathlib import Path

from rich.segment import Segment
from textual.geometry import Size
from textual.reactive import reactive
from textual.strip import Strip

from tui.log_index import LogIndex
from tui.widgets.log_keys import LogKeys


class LogView(LogKeys, can_focus=True):
    """Call `advance` now and then; it reads what is new."""

    DEFAULT_CSS = """
    LogView {
        height: 1fr;
        color: $foreground-muted;
        scrollbar-size: 1 1;
        overflow-x: hidden;
        &:focus { color: $foreground; }
    }
    """
    following: reactive[bool] = reactive(True)

    def __init__(self, path: Path | None) -> None:
        super().__init__()
        self._index = LogIndex(path) if path is not None else None

    def open(self, path: Path) -> None:
        """Show another file from its end."""
        self._index = LogIndex(path)
        self.following = True
        self.virtual_size = Size(0, 0)
        self.advance()

    @property
    def path(self) -> Path | None:
        return None if self._index is None else self._index.path

    def advance(self) -> None:
        if self._index is None or not self._index.extend():
            return
        self.virtual_size = Size(self.size.width, len(self._index))
        self.refresh()
        if self.following:
            self.scroll_end(animate=False, immediate=True)

    def follow(self) -> None:
        self.following = True
        self.scroll_end(animate=False)

    def on_resize(self) -> None:
        if self.following:
            self.scroll_end(animate=False)

    def watch_scroll_y(self, old_value: float, new_value: float) -> None:
        super().watch_scroll_y(old_value, new_value)
        self.following = new_value >= self.max_scroll_y

    def render_line(self, y: int) -> Strip:
        number = y + round(self.scroll_offset.y)
        width = self.size.width
        if self._index is None or number >= len(self._index):
            return Strip.blank(width, self.rich_style)
        strip = Strip([Segment(self._index.line(number), self.rich_style)])
        return strip.adjust_cell_length(width, self.rich_style)

    def action_follow(self) -> None:
        self.follow()
