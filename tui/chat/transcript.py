"""One pane's conversation, drawn row by row: streaming adds rows to the end and touches nothing
else."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from typing import ClassVar

from rich.cells import cell_len
from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.binding import BindingType
from textual.geometry import Region, Size
from textual.message import Message
from textual.scroll_view import ScrollView
from textual.selection import Selection
from textual.strip import Strip

from serve.chats.turns import Conversation
from tui import key_bindings
from tui.chat.answer_rows import AnswerRows, Look, Styles

_LEAST_WIDTH = 8  # cells in which anything can be read


class Transcript(ScrollView, can_focus=True):
    """Follows the end only while it is at the end."""

    @dataclass
    class TurnClicked(Message):
        """A row of this turn was clicked."""

        turn_id: str

    BINDINGS: ClassVar[list[BindingType]] = key_bindings.bindings("list")
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
        "transcript--likelier",
        "transcript--much-likelier",
        "transcript--unlikelier",
        "transcript--much-unlikelier",
        "transcript--own",
    }

    def __init__(self, conversation: Conversation) -> None:
        super().__init__()
        self.look = Look()
        self._conversation = conversation
        self._rows: list[AnswerRows] = []
        self._starts: list[int] = []
        self._drawn: dict[int, tuple[Strip, Strip]] = {}
        self._styles: Styles = {}
        self._following = True

    def show(self, conversation: Conversation) -> None:
        """Show this conversation; another one than before, from its end."""
        self.turn_to(conversation)
        self.advance()

    def turn_to(self, conversation: Conversation) -> None:
        """The same, drawn with the next `advance`."""
        if conversation is not self._conversation:
            self._conversation = conversation
            self._forget()
            self.follow()

    def use_look(self, look: Look) -> None:
        """Draw every row anew, if this look is another one."""
        if look != self.look:
            self.look = look
            self._forget()
            self.advance()

    def reveal(self, turn_id: str) -> None:
        """Scroll to the prompt of a turn."""
        for start, rows in zip(self._starts, self._rows, strict=True):
            if rows.answer.turn.id == turn_id and not start <= self.scroll_y < start + len(rows):
                self.scroll_to(y=start, animate=False)

    def follow(self) -> None:
        """Go to the end with the next rows, and stay there as it grows."""
        self._following = True

    def advance(self) -> None:
        """Show what has come since the last call."""
        # a long answer would take a row a letter, for seconds
        if self.size.width < _LEAST_WIDTH:
            return
        answers = self._conversation.answers
        if not self._styles:
            self._styles = {
                name.removeprefix("transcript--"): self.get_component_rich_style(name)
                for name in self.COMPONENT_CLASSES
            }
        kept = 0
        while (
            kept < min(len(answers), len(self._rows)) and self._rows[kept].answer is answers[kept]
        ):
            kept += 1
        if kept < len(answers) or kept < len(self._rows):
            code_theme = "monokai" if self.app.current_theme.dark else "friendly"
            self._rows[kept:] = [
                AnswerRows(answer, self._text_width, self._styles, code_theme, self.look)
                for answer in answers[kept:]
            ]
            self._measure(0)
        elif self._rows:
            changed = self._rows[-1].advance()
            if changed is not None:
                self._measure(self._starts[-1] + changed)

    def _measure(self, changed: int) -> None:
        """Count the rows, and have those from `changed` on drawn: all that are shown, where they
        move."""
        height = 0
        self._starts = []
        for rows in self._rows:
            self._starts.append(height)
            height += len(rows)
        # Said without the layout of the whole screen that `virtual_size = ` asks for: rows are
        # added inside, nothing else moves.
        self.set_reactive(Transcript.virtual_size, Size(self._text_width, height))
        self.vertical_scrollbar.window_virtual_size = height
        before = self.scroll_y
        self.scroll_y = min(self.scroll_y, self.max_scroll_y)
        self._keep_to_end()
        top = max(0, changed - round(self.scroll_y))
        if top and self.scroll_y == before:
            self.refresh(Region(0, top, self.size.width, max(0, self.size.height - top)))
        else:
            self.refresh()

    def _keep_to_end(self) -> None:
        if self._following:
            self.scroll_to(y=self.max_scroll_y, animate=False)

    @property
    def _text_width(self) -> int:
        # no text stands against the scroll bar
        return max(1, self.scrollable_content_region.width - 1)

    def watch_scroll_y(self, old_value: float, new_value: float) -> None:
        super().watch_scroll_y(old_value, new_value)
        self._following = new_value >= self.max_scroll_y

    def on_resize(self, event: events.Resize) -> None:
        if self._rows and self._rows[0].width != self._text_width:
            self._forget()
        self.advance()
        self._keep_to_end()

    def on_show(self) -> None:
        """What has come while another pane hid this one."""
        self.advance()

    def notify_style_update(self) -> None:
        super().notify_style_update()
        self._styles = {}
        self._forget()
        if self.is_attached:
            # the styles of its parts come after its own
            self.call_next(self.advance)

    def _forget(self) -> None:
        """Have every row made anew."""
        self._rows = []
        self._starts = []
        self._drawn = {}

    # Drawing

    def render_lines(self, crop: Region) -> list[Strip]:
        """Rows go to the screen as they are: there is no border to draw, and a strip that was drawn
        once is drawn again at no cost."""
        _, background = self.background_colors
        strips = [self.render_line(y) for y in crop.line_range]
        for line_filter in self.get_line_filters():
            strips = [strip.apply_filter(line_filter, background) for strip in strips]
        return [strip.crop(crop.x, crop.right) for strip in strips]

    def render_line(self, y: int) -> Strip:
        row = y + round(self.scroll_y)
        width = self.size.width
        if not self._starts or row >= self.virtual_size.height:
            return Strip.blank(width, self._styles.get("text", Style.null()))
        source = self._row(row)
        selection = self.text_selection
        if selection is None:
            # A strip keeps what Textual computes of it: drawing the same object again, also further
            # up, costs next to nothing.
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
        return self._rows[index].row(row - self._starts[index])

    def _selected(self, strip: Strip, start: int, end: int) -> Strip:
        style = self.screen.get_component_rich_style("screen--selection")
        text = strip.text
        first = cell_len(text[:start])
        last = strip.cell_length if end == -1 else cell_len(text[:end])
        before, selected, after = strip.crop(0, first), strip.crop(first, last), strip.crop(last)
        return Strip.join([before, Strip(Segment.apply_style(selected, post_style=style)), after])

    # Choosing a turn, selecting text

    def on_click(self, event: events.Click) -> None:
        row = event.y + round(self.scroll_y)
        if self._starts and row < self.virtual_size.height:
            self.post_message(
                self.TurnClicked(self._rows[bisect_right(self._starts, row) - 1].answer.turn.id)
            )

    @property
    def allow_select(self) -> bool:
        return True

    def get_selection(self, selection: Selection) -> tuple[str, str] | None:
        # not by `virtual_size`: it outlives rows that are about to be made anew
        rows = [
            answer_rows.row(number).text.rstrip()
            for answer_rows in self._rows
            for number in range(len(answer_rows))
        ]
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
