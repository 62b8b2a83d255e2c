"""The line in which a list is narrowed to what contains a text: how much it lets through stands
beside it, and the key that shows all again."""

from __future__ import annotations

from typing import ClassVar

from textual.app import ComposeResult
from textual.containers import Horizontal
from textual.content import Content
from textual.widgets import Input

from tui.key_bindings import key_of
from tui.shared.steady_text import SteadyText


class FilterLine(Horizontal):
    """Hidden until it is opened. The screen listens to its Input, and gives the focus back to the
    list."""

    DEFAULT_CSS: ClassVar[str] = """
    FilterLine {
        display: none;
        height: 1;
        background: $surface;
        border-left: outer $primary;
    }
    FilterLine.-open { display: block; }
    FilterLine Input { width: 1fr; background: $surface; }
    FilterLine SteadyText { width: auto; padding: 0 1; }
    """

    def __init__(self, input_id: str, placeholder: str) -> None:
        super().__init__()
        self._input_id, self._placeholder = input_id, placeholder

    def compose(self) -> ComposeResult:
        box = Input(placeholder=self._placeholder, id=self._input_id, compact=True)
        box.cursor_blink = False  # over SSH each blink is sent
        yield box
        yield SteadyText()

    @property
    def text(self) -> str:
        return self.query_one(Input).value

    @property
    def is_open(self) -> bool:
        return self.has_class("-open")

    def open(self) -> None:
        self.add_class("-open")
        self.query_one(Input).focus()

    def keep(self) -> None:
        """It stays in sight while it hides something."""
        self.set_class(bool(self.text), "-open")

    def close(self) -> None:
        self.query_one(Input).value = ""
        self.remove_class("-open")

    def show_count(self, matching: int, of: int) -> None:
        self.query_one(SteadyText).update(
            Content.assemble(
                (f"{matching:,} of {of:,}   ", "$foreground-muted"),
                (key_of("app.back"), "bold $primary"),
                (" shows all", "$foreground-muted"),
            )
        )
