"""What is certified as shipped: an export of a run's model, or a server that has it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from textual.app import ComposeResult
from textual.content import Content
from textual.widgets import Static

from jobs.job import Job
from models.chapters import Chapter
from models.endpoints import key_location
from models.runs import Run
from serve.shipped.launch import certify_shipped, settings_of
from tui.shared.form import Field, FormModal, JobStarted
from tui.shared.key_line import KeyHint
from workshop.chapter_job import job_behind
from workshop.exported import newest_export
from workshop.job_list import JobRow

_HINT = (
    "Shows whether what you give away is still the model that was trained: a GGUF file, a folder of"
    " safetensors, or a server's address. Only a server needs the model's name and a key."
)


class ShippedForm(FormModal):
    """Dismissed with the id of the job that measures it. It begins with what `again` is about, to
    certify that again, or else with the newest export of the run."""

    heading: ClassVar[str] = "Certify an export"
    hints: ClassVar[list[KeyHint]] = [
        KeyHint("tab", "tab", "next field"),
        KeyHint("enter", "enter", "certify"),
    ]

    def __init__(self, run: Job, rows: Sequence[JobRow], again: Chapter | None = None) -> None:
        super().__init__()
        self.run_job = run
        self._shipped = newest_export(rows, run) if again is None else again.subject
        self._model = self._key = ""
        job = None if again is None else job_behind(again)
        if job is not None:
            settings = settings_of(job)
            self._model, self._key = settings.served_model, settings.key_env or settings.key_file

    def compose_fields(self) -> ComposeResult:
        yield Field(
            "shipped",
            "shipped",
            value=self._shipped,
            placeholder="file.gguf, a folder, or an address",
        )
        yield Field("model", "model", self._model, "for a server: its name there")
        yield Field("key", "key", self._key, "for a server: OPENAI_API_KEY, or a file")
        yield Static(Content(_HINT), classes="hint")

    def submit(self) -> None:
        shipped = self.field("shipped").value
        if not shipped:
            self.field("shipped").show_error("needed: a file, a folder, or an address")
            return
        model, key = self.field("model").value, self.field("key").value

        def start() -> None:
            from serve.shipped.subject import subject_named

            subject = subject_named(shipped)
            job = certify_shipped(Run(self.run_job), subject, model, *key_location(key))
            self.post_message(JobStarted(job.id))

        self.show_problem(Content.styled("Looking at it.", "$foreground-muted"))
        self.run_worker(start, thread=True, exclusive=True, group="start", exit_on_error=False)
