"""A growing log by the line API. It follows the end until the reader scrolls up. A text can be
looked for in it."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from rich.cells import cell_len, set_cell_size
from rich.segment import Segment
from rich.style import Style
from textual.binding import BindingType
from textual.geometry import Size
from textual.message import Message
from textual.reactive import reactive
from textual.strip import Strip
from textual.widget import Widget

from tui import key_bindings
from tui.shared.glyphs import glyphs
from tui.shared.log_keys import LogKeys
from tui.shared.log_search import LogSearch
from tui.shared.readable_log import ReadableLog, Words


class LogView(LogKeys, can_focus=True):
    """Call `advance` now and then; it reads what is new. `find` marks a text and goes to where it
    stands."""

    BINDINGS: ClassVar[list[BindingType]] = key_bindings.bindings("search")
    COMPONENT_CLASSES: ClassVar[set[str]] = {"log--match", "log--here"}
    DEFAULT_CSS = """
    LogView {
        height: 1fr;
        color: $foreground-muted;
        scrollbar-size: 1 1;
        overflow-x: hidden;
        &:focus { color: $foreground; }
        .log--match { color: $primary; text-style: bold underline; }
        .log--here { color: $background; background: $primary; text-style: bold; }
    }
    """
    following: reactive[bool] = reactive(True)

    class Asked(Message):
        """The reader wants to look for a text."""

    class Searched(Message):
        """What is known of the search has changed; see `found`."""

    def __init__(self, path: Path | None, in_words: Words | None = None) -> None:
        super().__init__()
        self._in_words = in_words
        self._index = ReadableLog(path, in_words) if path is not None else None
        self.search: LogSearch | None = None
        self._here = -1
        # the direction of a search that has not come to where the reader wants to go
        self._awaits = 0
        self._style: Style | None = None

    def open(self, path: Path) -> None:
        """Show another file from its end."""
        self._index = ReadableLog(path, self._in_words)
        self.search = None
        self.following = True
        self.virtual_size = Size(0, 0)
        self.advance()

    @property
    def path(self) -> Path | None:
        return None if self._index is None else self._index.path

    def advance(self) -> None:
        if self._index is None:
            return
        last = max(0, len(self._index) - 1)
        if self._index.extend():
            if self.search is not None:
                self.search.look_again_from(last)
            self._grow(len(self._index))
            self.refresh()
            if self.following:
                self.scroll_end(animate=False, immediate=True)
        self._look()

    def _grow(self, lines: int) -> None:
        """A log that is scrolled already only gets a longer scrollbar: the screen need not be laid
        out anew for each line."""
        size = Size(self.size.width, lines)
        if self.show_vertical_scrollbar and lines > self.size.height:
            self.set_reactive(Widget.virtual_size, size)
            self.vertical_scrollbar.window_virtual_size = lines
        else:
            self.virtual_size = size

    def notify_style_update(self) -> None:
        super().notify_style_update()
        self._style = None

    @property
    def _line_style(self) -> Style:
        """Textual works `rich_style` out anew each time it is asked for."""
        if self._style is None:
            self._style = self.rich_style
        return self._style

    def follow(self) -> None:
        self.following = True
        self.scroll_end(animate=False)

    def on_resize(self) -> None:
        if self.following:
            self.scroll_end(animate=False)

    def watch_scroll_y(self, old_value: float, new_value: float) -> None:
        super().watch_scroll_y(old_value, new_value)
        self.following = new_value >= self.max_scroll_y

    def action_raw(self) -> None:
        """The lines as they were printed, or as a person reads them."""
        if self._index is None:
            return
        self._index.raw = not self._index.raw
        self.virtual_size = Size(self.size.width, len(self._index))
        if self.search is not None:
            self.find(self.search.text)
        self.refresh()
        self.follow()

    # Looking for a text

    def find(self, text: str) -> None:
        """Look for a text from where the reader is, upwards first: the newest lines are at the end.
        An empty text ends the search."""
        self.search = LogSearch(self._index, text) if text and self._index is not None else None
        self._here, self._awaits = -1, -1 if text else 0
        self._look(0.2)
        self.refresh()
        self.refresh_bindings()
        self.post_message(self.Searched())

    def _look(self, max_seconds: float = 0.03) -> None:
        """Go on with the search; the place that the reader waits for is shown once it is known."""
        search = self.search
        if search is None or (search.whole and not self._awaits):
            return
        has_matches = search.extend(max_seconds)
        if self._awaits and search.whole:
            direction, self._awaits = self._awaits, 0
            self._go(direction)
        if has_matches or search.whole:
            self.refresh()
            self.post_message(self.Searched())

    def _go(self, direction: int) -> None:
        """To the next line with the text, or the one before."""
        if self.search is None:
            return
        if self._here < 0:
            bottom = round(self.scroll_offset.y) + self.size.height
            line = (
                self.search.before(bottom)
                if direction < 0
                else self.search.after(bottom - self.size.height - 1)
            )
        else:
            line = (
                self.search.after(self._here) if direction > 0 else self.search.before(self._here)
            )
        if line is not None:
            self._here = line
            top = line - self.size.height // 2
            self.scroll_to(y=min(max(0, top), self.max_scroll_y), animate=False, immediate=True)
            self.following = False
            self.refresh()
        self.post_message(self.Searched())

    @property
    def found(self) -> str:
        """How the search stands: "3 of 17", "none"."""
        if self.search is None:
            return ""
        count = len(self.search.lines)
        if not count:
            return "none" if self.search.whole else "looking"
        return f"{self.search.number_of(self._here)} of {count}{'' if self.search.whole else '+'}"

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        return self.search is not None if action in ("find_next", "find_previous") else True

    def action_find(self) -> None:
        self.post_message(self.Asked())

    def action_find_next(self) -> None:
        self._go(1)

    def action_find_previous(self) -> None:
        self._go(-1)

    def render_line(self, y: int) -> Strip:
        number = y + round(self.scroll_offset.y)
        width, style = self.scrollable_content_region.width, self._line_style
        if self._index is None or number >= len(self._index):
            return Strip.blank(width, style)
        line = self._index.line(number)[: 4 * width]
        if cell_len(line) > width:
            line = set_cell_size(line, width - 1) + glyphs().ellipsis
        if self.search is None:
            return Strip([Segment(line, style)]).adjust_cell_length(width, style)
        mark = style + self.get_component_rich_style(
            "log--here" if number == self._here else "log--match", partial=True
        )
        segments, at = [], 0
        for start, end in self.search.places(line):
            segments += [Segment(line[at:start], style), Segment(line[start:end], mark)]
            at = end
        return Strip([*segments, Segment(line[at:], style)]).adjust_cell_length(width, style)

    def action_follow(self) -> None:
        self.follow()
