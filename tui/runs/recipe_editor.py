"""The recipe of a run that waits, to be changed before it starts."""

from __future__ import annotations

from pathlib import PurePath
from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.widgets import Static, TextArea
from textual.worker import Worker, WorkerState

from jobs.job import Job
from jobs.luthier_error import LuthierError
from models.run_folder import RunFolder
from tui.shared.dialog import Dialog, DialogKeys
from tui.shared.key_line import KeyHint
from tui.shared.styles import DIALOGS


class RecipeEditor(Dialog[bool]):
    """Dismissed with whether the run follows another recipe now. It is read and planned before it
    replaces the old one."""

    CSS_PATH: ClassVar[list[str | PurePath]] = [DIALOGS, "recipe_editor.tcss"]
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("ctrl+s", "save", priority=True),
    ]

    def __init__(self, job: Job) -> None:
        super().__init__()
        self.job = job
        self._before = RunFolder(job.directory).recipe.read_text(encoding="utf-8")

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog -tall") as dialog:
            dialog.border_title = Content(f"The recipe of {self.job.spec.name}")
            yield TextArea(self._before, soft_wrap=False, show_line_numbers=True, compact=True)
            yield Static(id="form-error")
            yield DialogKeys(
                KeyHint("ctrl+s", "^s", "plan and replace"),
            )

    @property
    def text(self) -> str:
        return self.query_one(TextArea).text

    @on(TextArea.Changed)
    def text_changed(self) -> None:
        self._say(Content(""))

    def action_save(self) -> None:
        text, job = self.text, self.job
        if text == self._before:
            self.dismiss(False)
            return

        def replace() -> None:
            from trainer.edit import draft, replace_recipe

            with draft(job) as path:
                path.write_text(text, encoding="utf-8")
                try:
                    replace_recipe(job, path)
                except LuthierError as error:
                    raise LuthierError(
                        error.title, error.message.replace(str(path), "the recipe"), error.hint
                    ) from error

        self._say(Content.styled("Reading the data and planning the run.", "$foreground-muted"))
        self.run_worker(replace, thread=True, exclusive=True, group="replace", exit_on_error=False)

    def on_worker_state_changed(self, event: Worker.StateChanged) -> None:
        error = event.worker.error
        if event.state is WorkerState.SUCCESS:
            self.dismiss(True)
        elif event.state is WorkerState.ERROR and isinstance(error, LuthierError):
            self._say(
                Content.assemble(
                    (f"{error.title}. ", "bold $error"),
                    error.message,
                    "\n",
                    (error.hint, "$foreground-muted"),
                )
            )
        elif event.state is WorkerState.ERROR and error is not None:
            self.app.show_failure(error)  # type: ignore[attr-defined]  # LuthierApp, which would import this module in a circle

    def _say(self, text: Content) -> None:
        self.query_one("#form-error", Static).update(text)
