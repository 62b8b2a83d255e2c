"""A text as TOML in a dialog: where the terminal cannot be given to an editor."""

from __future__ import annotations

from pathlib import PurePath
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.widgets import TextArea

from tui.shared.dialog import Dialog, DialogKeys
from tui.shared.key_line import KeyHint
from tui.shared.styles import DIALOGS


class TomlModal(Dialog[str]):
    """Dismissed with the text as it is then."""

    CSS_PATH: ClassVar[list[str | PurePath]] = [DIALOGS]
    BINDINGS: ClassVar[list[BindingType]] = [Binding("ctrl+s", "submit", priority=True)]

    def __init__(self, title: str, text: str) -> None:
        super().__init__()
        self._title, self._text = title, text

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog -tall") as dialog:
            dialog.border_title = Content(self._title)
            yield TextArea(self._text, soft_wrap=False, show_line_numbers=True, compact=True)
            yield DialogKeys(KeyHint("ctrl+s", "^s", "use it"))

    def action_submit(self) -> None:
        self.dismiss(self.query_one(TextArea).text)
