"""A form in a dialog: labelled fields, each with its error beside it, and one line for what is
wrong with the whole."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.content import Content
from textual.message import Message
from textual.widgets import Input, Label, Static
from textual.worker import Worker, WorkerState

from jobs.luthier_error import LuthierError
from tui.shared.dialog import SUBMIT_KEYS, Dialog, DialogKeys
from tui.shared.key_line import KeyHint
from tui.shared.styles import DIALOGS


class Field(Vertical):
    """A label, an input, and under it the error, if there is one."""

    def __init__(self, key: str, title: str, value: str = "", placeholder: str = "") -> None:
        super().__init__(id=f"field-{key}", classes="field")
        self.key, self.title = key, title
        self._value, self._placeholder = value, placeholder

    def compose(self) -> ComposeResult:
        with Horizontal():
            yield Label(Content(self.title))
            box = Input(self._value, placeholder=self._placeholder, compact=True)
            box.cursor_blink = False  # over SSH each blink is sent
            yield box
        yield Static(classes="field-error")

    @property
    def value(self) -> str:
        return self.query_one(Input).value.strip()

    def show_error(self, text: str) -> None:
        self.query_one(".field-error", Static).update(Content(text))
        self.set_class(bool(text), "-wrong")


@dataclass
class JobStarted(Message):
    job_id: str


class FormModal(Dialog[str | None]):
    """Dismissed with the id of the job that it started, or None. Subclasses compose their fields
    and start the job."""

    CSS_PATH = DIALOGS
    BINDINGS: ClassVar[list[BindingType]] = SUBMIT_KEYS
    heading: ClassVar[str]
    hints: ClassVar[list[KeyHint]] = [
        KeyHint("tab", "tab", "next field"),
        KeyHint("enter", "enter", "start"),
    ]

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog -form") as dialog:
            dialog.border_title = Content(self.heading)
            with VerticalScroll(can_focus=False):
                yield from self.compose_fields()
            yield Static(id="form-error")
            yield DialogKeys(*self.hints)

    def compose_fields(self) -> ComposeResult:
        raise NotImplementedError

    def field(self, key: str) -> Field:
        return self.query_one(f"#field-{key}", Field)

    def number_in(self, key: str, least: float, integer: bool = False) -> float | None:
        """The number in a field, or None with an error beside it."""
        field = self.field(key)
        try:
            number = int(field.value) if integer else float(field.value)
        except ValueError:
            field.show_error("a whole number" if integer else "a number")
            return None
        if not least <= number < float("inf"):
            field.show_error(f"at least {least:g}")
            return None
        return number

    def clear_errors(self) -> None:
        for field in self.query(Field):
            field.show_error("")
        self.show_problem(Content(""))

    def show_problem(self, text: Content) -> None:
        self.query_one("#form-error", Static).update(text)

    def action_submit(self) -> None:
        self.clear_errors()
        self.submit()

    def submit(self) -> None:
        """Look at the fields; start the job in the background if they are right."""
        raise NotImplementedError

    def on_job_started(self, message: JobStarted) -> None:
        self.dismiss(message.job_id)

    def on_worker_state_changed(self, event: Worker.StateChanged) -> None:
        if event.state is not WorkerState.ERROR:
            return
        error = event.worker.error
        if isinstance(error, LuthierError):
            self.show_problem(
                Content.assemble(
                    (f"{error.title}. ", "bold $error"),
                    error.message,
                    "\n",
                    (error.hint, "$foreground-muted"),
                )
            )
        elif error is not None:
            self.app.show_failure(error)  # type: ignore[attr-defined]  # LuthierApp: a circle
