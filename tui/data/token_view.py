"""A sample, token by token, by the line API: its text with what is trained marked, or a table of
its tokens with their numbers."""

from __future__ import annotations

from typing import ClassVar

from rich.segment import Segment
from rich.style import Style
from textual.events import Resize
from textual.geometry import Size
from textual.reactive import reactive
from textual.strip import Strip

from tui.data.token_text import Kind, Run, Token, lines_of, sign_and_word
from tui.shared.log_keys import LogKeys


class TokenView(LogKeys, can_focus=True):
    """Give it the tokens with `show`. `ids`: the table instead of the text."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {
        "token--untrained",
        "token--trained",
        "token--stop",
        "token--mark",
    }
    DEFAULT_CSS = """
    TokenView {
        height: 1fr;
        scrollbar-size: 1 1;
        overflow-x: hidden;
        .token--untrained { color: $foreground-muted; }
        .token--trained { color: $success; text-style: bold underline; }
        .token--stop { color: $success; text-style: bold reverse; }
        .token--mark { color: $primary; text-style: bold; }
    }
    """
    ids: reactive[bool] = reactive(False)

    def __init__(self) -> None:
        super().__init__()
        self._tokens: list[Token] = []
        self._lines: list[list[Run]] = []
        self._width = 0
        self._newlines = True

    def show(self, tokens: list[Token], newlines: bool = True) -> None:
        """`newlines`: each has a sign, as the token that it is in a sample."""
        self._tokens, self._newlines = tokens, newlines
        self._lay_out()
        self.scroll_home(animate=False)

    @property
    def first_trained(self) -> int:
        """The first line with something that is trained, 0 if there is none."""
        lines = enumerate(self._lines)
        return next(
            (number for number, runs in lines if any(kind == "trained" for _, kind in runs)), 0
        )

    def watch_ids(self) -> None:
        self._lay_out()
        self.scroll_home(animate=False)

    def on_resize(self, event: Resize) -> None:
        if self.scrollable_content_region.width != self._width:
            self._lay_out()

    def _lay_out(self) -> None:
        self._width = self.scrollable_content_region.width
        self._lines = [] if self.ids else lines_of(self._tokens, self._width, self._newlines)
        self.virtual_size = Size(
            self._width, len(self._tokens) + 1 if self.ids and self._tokens else len(self._lines)
        )
        self.refresh()

    def render_line(self, y: int) -> Strip:
        number, width = y + round(self.scroll_offset.y), self.size.width
        if self.ids:
            runs = self._token_line(number)
        else:
            runs = self._lines[number] if number < len(self._lines) else []
        strip = Strip([Segment(text, self._style(kind)) for text, kind in runs])
        return strip.adjust_cell_length(width, self.rich_style)

    def _token_line(self, number: int) -> list[Run]:
        """A token of the table, the titles in line 0."""
        if number == 0 and self._tokens:
            return [("  place       id  trained  weight  text", "untrained")]
        if not 0 < number <= len(self._tokens):
            return []
        token = self._tokens[number - 1]
        word, weight = (
            sign_and_word(token.kind),
            f"{token.weight:g}" if token.kind != "untrained" else "",
        )
        return [
            (f"{number - 1:>7}  {token.id:>7}  {word:<7}  {weight:>6}  ", "untrained"),
            (token.shown, token.kind),
        ]

    def _style(self, kind: Kind) -> Style:
        return self.get_component_rich_style(f"token--{kind}")
