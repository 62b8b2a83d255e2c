"""The chat is longer than the model can read: how long, and what can be done."""

from __future__ import annotations

from typing import ClassVar, Literal

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.widgets import Static

from serve.client import ContextExceeded
from tui.shared.dialog import Dialog, DialogKeys
from tui.shared.key_line import KeyHint
from tui.shared.styles import DIALOGS

ContextChoice = Literal["forget", "new"]


class ContextModal(Dialog[ContextChoice]):
    CSS_PATH = DIALOGS
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("f", "choose('forget')"),
        Binding("n", "choose('new')"),
    ]

    def __init__(self, name: str, error: ContextExceeded, can_forget: bool) -> None:
        super().__init__()
        self._name = name
        self._error = error
        self._can_forget = can_forget

    def compose(self) -> ComposeResult:
        limit, used = f"{self._error.limit:,}", self._error.used
        length = f"This chat has {used:,} tokens, more" if used else "This chat has more tokens"
        with Vertical(classes="dialog") as dialog:
            dialog.border_title = Content(f"Too long for {self._name}")
            yield Static(Content(f"{length} than the {limit} that can be read at once."))
            if self._can_forget:
                hint = (
                    "Its oldest turns can be left out of what is sent: they stay on the screen and"
                    " in the database."
                )
            else:
                hint = (
                    "The prompt alone is too long: shorten it (p, on the turn), or serve the model"
                    " with a longer context."
                )
            yield Static(Content(hint), classes="hint")
            forget = [KeyHint("f", "f", "leave out the oldest turns")] if self._can_forget else []
            yield DialogKeys(*forget, KeyHint("n", "n", "new chat"))

    def action_choose(self, choice: ContextChoice) -> None:
        if choice != "forget" or self._can_forget:
            self.dismiss(choice)
