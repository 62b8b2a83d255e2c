"""A failure, to be read and copied: what happened, why, what to do, and the last lines of the
log."""

from __future__ import annotations

from collections.abc import Sequence

from textual.app import ComposeResult
from textual.containers import Vertical, VerticalScroll
from textual.content import Content
from textual.events import Key
from textual.widgets import Static

from jobs.luthier_error import LuthierError
from tui.shared.dialog import Dialog, DialogKeys
from tui.shared.key_line import KeyHint
from tui.shared.styles import DIALOGS

_SCROLL_KEYS = {"up", "down", "pageup", "pagedown", "home", "end"}


class ErrorModal(Dialog[None]):
    """`c` copies it, the arrows scroll, any other key closes it."""

    CSS_PATH = DIALOGS

    def __init__(self, error: LuthierError, log_lines: Sequence[str] = ()) -> None:
        super().__init__()
        self.error = error
        self.log_lines = log_lines

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog -error") as dialog:
            dialog.border_title = Content(self.error.title)
            with VerticalScroll():
                yield Static(Content(self.error.message))
                if self.error.hint:
                    yield Static(Content(self.error.hint), classes="hint")
                if self.log_lines:
                    yield Static(Content("\n".join(self.log_lines)), classes="log-lines")
            yield DialogKeys(KeyHint("c", "c", "copy"))

    def on_key(self, event: Key) -> None:
        if event.key in _SCROLL_KEYS:
            return
        event.stop()
        if event.key == "c":
            self.app.copy_to_clipboard("\n".join([str(self.error), *self.log_lines]))
            self.notify("The error was copied.")
        elif event.key != "ctrl+q":
            self.dismiss()
