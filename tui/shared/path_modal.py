"""One question: where to write a file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from textual import on
from textual.app import ComposeResult
from textual.containers import Vertical
from textual.content import Content
from textual.widgets import Input, Label

from jobs.files import expanded
from jobs.luthier_error import LuthierError
from tui.shared.dialog import Dialog, DialogKeys
from tui.shared.key_line import KeyHint


class PathModal(Dialog[Path]):
    """Gives back the path once `write` has taken it; what `write` refuses is shown below the line,
    which stays as it was."""

    def __init__(
        self, title: str, proposed: Path, hint: str, write: Callable[[Path], None]
    ) -> None:
        super().__init__()
        self._title = title
        self._proposed = proposed
        self._hint = hint
        self._write = write

    def compose(self) -> ComposeResult:
        with Vertical(id="path-form") as form:
            form.border_title = Content(self._title)
            yield Input(str(self._proposed), id="path", compact=True)
            yield Label(Content(self._hint), id="path-hint")
            yield Label("", id="path-error", classes="field-error")
            yield DialogKeys(KeyHint("enter", "enter", "write"))

    @on(Input.Submitted)
    def take(self, event: Input.Submitted) -> None:
        path = expanded(event.value.strip()).absolute()
        try:
            self._write(path)
        except LuthierError as error:
            self.query_one("#path-error", Label).update(Content(f"{error.title}. {error.hint}"))
        else:
            self.dismiss(path)
