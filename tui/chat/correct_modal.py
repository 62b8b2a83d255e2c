"""An answer in the user's own words."""

from __future__ import annotations

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.widgets import Static, TextArea

from tui.shared.dialog import Dialog, DialogKeys
from tui.shared.key_line import KeyHint


class CorrectModal(Dialog[str]):
    """Gives back the new text; nothing when it is left."""

    CSS_PATH = "modals.tcss"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("ctrl+s", "apply", priority=True),
    ]

    def __init__(self, name: str, prompt: str, text: str) -> None:
        super().__init__()
        self._name = name
        self._prompt = prompt
        self._text = text

    def compose(self) -> ComposeResult:
        with Vertical(id="correct") as form:
            form.border_title = Content(f"What {self._name} should have said")
            yield Static(Content(" ".join(self._prompt.split())), id="correct-prompt")
            yield TextArea(self._text, soft_wrap=True, compact=True)
            yield DialogKeys(
                KeyHint("ctrl+s", "^s", "keep these words"),
            )

    def on_mount(self) -> None:
        self.query_one(TextArea).move_cursor(self.query_one(TextArea).document.end)

    def action_apply(self) -> None:
        text = self.query_one(TextArea).text.strip()
        if text:
            self.dismiss(text)
