"""One side's conversation, drawn row by row: streaming adds rows to the end and touches nothing else."""

from __future__ import annotations

import time
from bisect import bisect_right
from collections.abc import Mapping
from typing import ClassVar

from rich.cells import cell_len
from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.binding import BindingType
from textual.geometry import Region, Size
from textual.scroll_view import ScrollView
from textual.selection import Selection
from textual.strip import Strip

from tui import actions
from tui.chat_session import Conversation, Failed, Turn, Waiting, Writing
from tui.chat_text import figures_rows, key_of
from tui.glyphs import glyphs
from tui.widgets.answer import FlowingText, wrap
from tui.widgets.markdown import markdown_rows

Styles = Mapping[str, Style]

_MARKDOWN_STYLES = {
    "none": "text",
    "markdown.h1": "heading",
    "markdown.h2": "heading",
    "markdown.h3": "heading",
    "markdown.h4": "heading",
    "markdown.h5": "heading",
    "markdown.h6": "heading",
    "markdown.code": "code",
    "markdown.code_block": "code-block",
    "markdown.item.bullet": "mark",
    "markdown.item.number": "mark",
    "markdown.hr": "faint",
    "markdown.block_quote": "faint",
    "markdown.link": "link",
    "markdown.link_url": "faint",
    "markdown.table.border": "faint",
    "markdown.table.header": "heading",
}


class TurnRows:
    """The rows of one turn at one width."""

    def __init__(self, turn: Turn, width: int, styles: Styles, code_theme: str) -> None:
        self.turn = turn
        self.width = width
        self._styles = styles
        self._code_theme = code_theme
        self._taken = 0
        self._flowing = FlowingText(width)
        self._prompt = self._prompt_rows()
        self._answer: list[Strip] = []
        self._below: list[Strip] = []
        self._finished = False
        self.advance()

    def __len__(self) -> int:
        return len(self._prompt) + len(self._answer) + len(self._below)

    def row(self, index: int) -> Strip:
        for part in (self._prompt, self._answer, self._below):
            if index < len(part):
                return part[index]
            index -= len(part)
        raise IndexError(index)

    def advance(self) -> bool:
        """Take what has come since. Returns whether anything changed."""
        if self._finished:
            return False
        if not self.turn.answering:
            self._finished = True
            self._answer = self._final_rows()
        elif len(self.turn.pieces) > self._taken:
            pieces = self.turn.pieces[self._taken :]
            self._taken += len(pieces)
            changed = self._flowing.append("".join(pieces))
            self._answer[changed:] = [self._strip(row, "text") for row in self._flowing.rows[changed:]]
        self._below = self._rows_below()
        return True

    def _prompt_rows(self) -> list[Strip]:
        flowing = FlowingText(self.width - 2)
        flowing.append(self.turn.prompt)
        bar = Segment(glyphs().cursor + " ", self._styles["prompt-bar"])
        style = self._styles["prompt"]
        rows = [Strip([bar, Segment(row.ljust(1), style)]).extend_cell_length(self.width, style) for row in flowing.rows]
        return [*rows, self._strip("", "text")]

    def _final_rows(self) -> list[Strip]:
        text = self.turn.text
        if not text.strip():
            return []
        styles = {name: self._styles[ours] for name, ours in _MARKDOWN_STYLES.items()}
        return [Strip(row) for row in markdown_rows(text, self.width, styles, self._code_theme)]

    def _rows_below(self) -> list[Strip]:
        dots = glyphs().ellipsis
        match self.turn.state:
            case Waiting(since):
                waited = time.monotonic() - since
                return self._paragraph(f"waiting for the first token{dots}" + (f" {waited:.0f} s" if waited >= 1 else ""), "faint")
            case Writing():
                return []
            case Failed(error):
                rows = [self._strip("", "text")] if self._answer else []
                rows += self._paragraph(f"{glyphs().failed} {error.title}", "error")
                rows += self._paragraph(error.message, "text")
                ways = (("retry", "asks again"), ("settings", "settings"), ("clear", "new chat"))
                again = f" {glyphs().dot} ".join(f"{key_of(f'chat.{name}')} {what}" for name, what in ways)
                return [*rows, *self._paragraph(f"{error.hint}\n{again}", "faint"), self._strip("", "text")]
            case _:
                gap = [self._strip("", "text")] if self._answer else []
                figures = [self._strip(row, "faint") for row in figures_rows(self.turn, self.width)]
                return [*gap, *figures, self._strip("", "text")]

    def _paragraph(self, text: str, style: str) -> list[Strip]:
        return [self._strip(row, style) for line in text.splitlines() for row in wrap(line, self.width)]

    def _strip(self, text: str, style: str) -> Strip:
        return Strip([Segment(text, self._styles[style])])


class Transcript(ScrollView, can_focus=True):
    """Follows the end only while it is at the end."""

    BINDINGS: ClassVar[list[BindingType]] = actions.bindings("list")
    COMPONENT_CLASSES: ClassVar[set[str]] = {
        "transcript--text",
        "transcript--faint",
        "transcript--prompt",
        "transcript--prompt-bar",
        "transcript--heading",
        "transcript--code",
        "transcript--code-block",
        "transcript--mark",
        "transcript--link",
        "transcript--error",
    }

    def __init__(self, conversation: Conversation) -> None:
        super().__init__()
        self._conversation = conversation
        self._turns: list[TurnRows] = []
        self._starts: list[int] = []
        self._drawn: dict[int, tuple[Strip, Strip]] = {}
        self._styles: Styles = {}
        self._following = True

    def show(self, conversation: Conversation) -> None:
        """Show this conversation; another one than before, from its end."""
        if conversation is not self._conversation:
            self._conversation = conversation
            self._forget()
            self.follow()
        self.advance()

    def follow(self) -> None:
        """Go to the end with the next rows, and stay there as it grows."""
        self._following = True

    def advance(self) -> None:
        """Show what has come since the last call."""
        if not self.size.width:
            return
        turns = self._conversation.turns
        if not self._styles:
            self._styles = {name.removeprefix("transcript--"): self.get_component_rich_style(name) for name in self.COMPONENT_CLASSES}
        kept = 0
        while kept < min(len(turns), len(self._turns)) and self._turns[kept].turn is turns[kept]:
            kept += 1
        changed = kept < len(turns) or kept < len(self._turns)
        if changed:
            code_theme = "monokai" if self.app.current_theme.dark else "friendly"
            self._turns[kept:] = [TurnRows(turn, self._text_width, self._styles, code_theme) for turn in turns[kept:]]
        elif self._turns:
            changed = self._turns[-1].advance()
        if changed:
            self._measure()

    def _measure(self) -> None:
        height = 0
        self._starts = []
        for turn in self._turns:
            self._starts.append(height)
            height += len(turn)
        # Said without the layout of the whole screen that `virtual_size = ` asks for: rows are added inside, nothing else moves.
        self.set_reactive(Transcript.virtual_size, Size(self._text_width, height))
        self.vertical_scrollbar.window_virtual_size = height
        self.scroll_y = min(self.scroll_y, self.max_scroll_y)
        self._keep_to_end()
        self.refresh()

    def _keep_to_end(self) -> None:
        if self._following:
            self.scroll_to(y=self.max_scroll_y, animate=False)

    @property
    def _text_width(self) -> int:
        return max(1, self.scrollable_content_region.width)

    def watch_scroll_y(self, old_value: float, new_value: float) -> None:
        super().watch_scroll_y(old_value, new_value)
        self._following = new_value >= self.max_scroll_y

    def on_resize(self, event: events.Resize) -> None:
        if self._turns and self._turns[0].width != self._text_width:
            self._forget()
        self.advance()
        self._keep_to_end()

    def notify_style_update(self) -> None:
        super().notify_style_update()
        self._styles = {}
        self._forget()
        if self.is_attached:
            self.advance()

    def _forget(self) -> None:
        """Have every row made anew."""
        self._turns = []
        self._drawn = {}

    # Drawing

    def render_lines(self, crop: Region) -> list[Strip]:
        """Rows go to the screen as they are: there is no border to draw, and a strip that was drawn once is drawn again at no cost."""
        _, background = self.background_colors
        strips = [self.render_line(y) for y in crop.line_range]
        for line_filter in self.get_line_filters():
            strips = [strip.apply_filter(line_filter, background) for strip in strips]
        return [strip.crop(crop.x, crop.right) for strip in strips]

    def render_line(self, y: int) -> Strip:
        row = y + round(self.scroll_y)
        width = self.size.width
        if not self._starts or row >= self.virtual_size.height:
            return Strip.blank(width, self._styles.get("text"))
        source = self._row(row)
        selection = self.text_selection
        if selection is None:
            # A strip keeps what Textual computes of it: drawing the same object again, also further up, costs next to nothing.
            drawn = self._drawn.get(row)
            if drawn is None or drawn[0] is not source:
                drawn = self._drawn[row] = (source, self._placed(source, row, width))
            return drawn[1]
        span = selection.get_span(row)
        return self._placed(source if span is None else self._selected(source, *span), row, width)

    def _placed(self, strip: Strip, row: int, width: int) -> Strip:
        return strip.crop_extend(0, width, self._styles["text"]).apply_offsets(0, row)

    def _row(self, row: int) -> Strip:
        index = bisect_right(self._starts, row) - 1
        return self._turns[index].row(row - self._starts[index])

    def _selected(self, strip: Strip, start: int, end: int) -> Strip:
        style = self.screen.get_component_rich_style("screen--selection")
        text = strip.text
        first = cell_len(text[:start])
        last = strip.cell_length if end == -1 else cell_len(text[:end])
        before, selected, after = strip.crop(0, first), strip.crop(first, last), strip.crop(last)
        return Strip.join([before, Strip(Segment.apply_style(selected, post_style=style)), after])

    # Selecting

    @property
    def allow_select(self) -> bool:
        return True

    def get_selection(self, selection: Selection) -> tuple[str, str] | None:
        rows = [self._row(row).text.rstrip() for row in range(self.virtual_size.height)]
        return selection.extract("\n".join(rows)), "\n"

    # Scrolling

    def action_first(self) -> None:
        self.scroll_home(animate=False)

    def action_last(self) -> None:
        self.scroll_end(animate=False)

    def action_cursor_up(self) -> None:
        self.scroll_up(animate=False)

    def action_cursor_down(self) -> None:
        self.scroll_down(animate=False)

    def action_page_up(self) -> None:
        self.scroll_page_up(animate=False)

    def action_page_down(self) -> None:
        self.scroll_page_down(animate=False)
