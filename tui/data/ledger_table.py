"""The ledger as a table, by the line API: of any length, since a row is read when it is drawn."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from textual.binding import BindingType
from textual.content import Content
from textual.events import Click
from textual.geometry import Region, Size
from textual.message import Message
from textual.reactive import reactive
from textual.scroll_view import ScrollView
from textual.strip import Strip
from textual.visual import Visual

from trainer.data.inspection import Ledger
from trainer.data.ledger import Entry
from tui import key_bindings
from tui.shared.glyphs import glyphs


class LedgerTable(ScrollView, can_focus=True, inherit_bindings=False):
    """Give it a ledger with `open`, the places to show with `show`."""

    BINDINGS: ClassVar[list[BindingType]] = key_bindings.bindings("list")
    COMPONENT_CLASSES: ClassVar[set[str]] = {"ledger--cursor", "ledger--cursor-blurred"}
    DEFAULT_CSS = """
    LedgerTable {
        height: 1fr;
        scrollbar-size: 1 1;
        overflow-x: hidden;
        .ledger--cursor { background: $panel; color: $foreground; text-style: bold; }
        .ledger--cursor-blurred { background: $surface; }
        &:ansi .ledger--cursor { color: ansi_bright_white; background: ansi_blue; }
    }
    """
    cursor: reactive[int] = reactive(0)

    @dataclass
    class Moved(Message):
        """The cursor stands on another row."""

    def __init__(self) -> None:
        super().__init__()
        self._ledger: Ledger | None = None
        self._places: Sequence[int] = array("Q")
        self._many_files = False

    def open(self, ledger: Ledger, many_files: bool) -> None:
        self._ledger, self._many_files = ledger, many_files
        self.cursor = 0
        self.scroll_home(animate=False)

    def show(self, places: Sequence[int]) -> None:
        """The rows at these places of the ledger; the cursor stays on its row, if that is still
        there."""
        before = self._places[self.cursor] if self.cursor < len(self._places) else None
        self._places = places
        self.virtual_size = Size(self.size.width, len(places))
        self.cursor = (
            places.index(before)
            if before is not None and before in places
            else min(self.cursor, max(0, len(places) - 1))
        )
        self.refresh()
        self.post_message(self.Moved())

    def __len__(self) -> int:
        return len(self._places)

    def __bool__(self) -> bool:
        return True  # a table without rows is still a widget

    @property
    def entry(self) -> Entry | None:
        """The row under the cursor."""
        if self._ledger is None or self.cursor >= len(self._places):
            return None
        return self._ledger.entry(self._places[self.cursor])

    def render_line(self, y: int) -> Strip:
        number, width = y + round(self.scroll_offset.y), self.scrollable_content_region.width
        if self._ledger is None or number >= len(self._places):
            return Strip.blank(width, self.rich_style)
        line = ledger_line(self._ledger.entry(self._places[number]), width - 1, self._many_files)
        cursor_style = "ledger--cursor" if self.has_focus else "ledger--cursor-blurred"
        style = self.get_visual_style(cursor_style) if number == self.cursor else self.visual_style
        return Visual.to_strips(
            self, line.pad_left(1).pad_right(max(0, width - 1 - line.cell_length)), width, 1, style
        )[0]

    def watch_cursor(self, before: int, now: int) -> None:
        if before != now:
            self.scroll_to_region(Region(0, now, 1, 1), animate=False, force=True)
            self.refresh()
            self.post_message(self.Moved())

    def watch_has_focus(self, value: bool) -> None:
        super().watch_has_focus(value)
        self.refresh()

    def move(self, rows: int) -> None:
        self.cursor = min(max(0, self.cursor + rows), max(0, len(self._places) - 1))

    def on_click(self, event: Click) -> None:
        number = event.y + round(self.scroll_offset.y)
        if number < len(self._places):
            self.cursor = number

    # The keys of a list

    def action_cursor_up(self) -> None:
        self.move(-1)

    def action_cursor_down(self) -> None:
        self.move(1)

    def action_first(self) -> None:
        self.cursor = 0

    def action_last(self) -> None:
        self.move(len(self._places))

    def action_page_up(self) -> None:
        self.move(1 - self.size.height)

    def action_page_down(self) -> None:
        self.move(self.size.height - 1)


def state_sign(state: str) -> Content:
    """A row's state as glyph, word and colour."""
    signs = glyphs()
    glyph, colour = {
        "kept": (signs.done, "$success"),
        "repaired": (signs.repaired, "$warning"),
        "split": (signs.split, "$secondary"),
        "dropped": (signs.failed, "$error"),
    }[state]
    return Content.assemble((glyph, colour), f" {state}")


def ledger_titles(width: int, many_files: bool) -> Content:
    file = f"{'file':<24}  " if many_files and width >= 90 else ""
    return Content.styled(
        f"{'row':>7}  {file}{'state':<10}  {'tokens':>7}  {'samples':>7}  reasons",
        "$foreground-muted",
    )


def ledger_line(entry: Entry, width: int, many_files: bool) -> Content:
    tokens = f"{entry.tokens:,}" if entry.tokens else ""
    parts = [Content(f"{entry.row:>7}  ")]
    if many_files and width >= 90:
        parts.append(
            Content(Path(entry.file).name).truncate(24, ellipsis=True, pad=True).pad_right(2)
        )
    sign = state_sign(entry.state)
    parts += [
        sign.pad_right(10 - sign.cell_length),
        Content(f"  {tokens:>7}  {len(entry.samples) or '':>7}  "),
    ]
    parts.append(Content.styled(", ".join(entry.reasons), "$foreground-muted"))
    return Content("").join(parts).truncate(width, ellipsis=True)
