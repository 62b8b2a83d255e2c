"""What would be started, and why: a server's plan with its command line, to be read and copied."""

from __future__ import annotations

import sys

from textual.app import ComposeResult
from textual.containers import Vertical, VerticalScroll
from textual.content import Content
from textual.events import Key
from textual.widgets import Static

from serve.planning import Outlook
from tui.serve.server_plan import NOTICED, Row, command_line, rows
from tui.shared.dialog import Dialog, DialogKeys
from tui.shared.hanging_text import HangingText
from tui.shared.key_line import KeyHint
from tui.shared.styles import DIALOGS

_LABEL = 15  # cells before what a label stands for
_SCROLL_KEYS = {"up", "down", "pageup", "pagedown", "home", "end"}


class PlanModal(Dialog[None]):
    """`c` copies the command line, the arrows scroll, any other key closes it."""

    CSS_PATH = DIALOGS

    def __init__(self, outlook: Outlook) -> None:
        super().__init__()
        self._rows = rows(outlook)
        self.command = command_line(outlook.plan, sys.executable)

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog -plan") as dialog:
            dialog.border_title = "What would be started"
            with VerticalScroll():
                text = HangingText(id="server-plan")
                text.hang(Content("\n").join(_line(row) for row in self._rows), _LABEL)
                yield text
                yield Static(Content(self.command), classes="log-lines")
            yield DialogKeys(
                KeyHint("c", "c", "copy the command line"),
            )

    def on_key(self, event: Key) -> None:
        if event.key in _SCROLL_KEYS:
            return
        event.stop()
        if event.key == "c":
            self.app.copy_to_clipboard(self.command)
            self.notify(
                "The command line was copied. The keys are not in it: they go in the environment."
            )
        elif event.key != "ctrl+q":
            self.dismiss()


def _line(row: Row) -> Content:
    name, value, why = row
    colour = "$warning" if name in NOTICED else "bold"
    return Content.assemble(
        (f"{name:<{_LABEL}}", "$foreground-muted"),
        (value, colour),
        (f"  {why}" if why else "", "$foreground-muted"),
    )
