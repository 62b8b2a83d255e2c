"""Where to write the charts, and which of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.message import Message
from textual.widgets import Label, Select, Static
from textual.worker import Worker, WorkerState

from jobs.files import expanded
from jobs.luthier_error import LuthierError
from jobs.spec import slug
from tui.runs.chart_export import export
from tui.runs.charts.view import View
from tui.shared.dialog import SUBMIT_KEYS, Dialog, DialogKeys
from tui.shared.failures import readable
from tui.shared.form import Field
from tui.shared.key_line import KeyHint
from tui.shared.styles import DIALOGS
from workshop.runs.chart_metrics import Metric
from workshop.runs.track import Track


class ExportModal(Dialog[None]):
    """Figures show the stretch that is looked at; CSV has every value of every step."""

    CSS_PATH = DIALOGS
    BINDINGS: ClassVar[list[BindingType]] = SUBMIT_KEYS

    @dataclass
    class Written(Message):
        path: Path

    def __init__(self, tracks: Sequence[Track], metric: Metric, view: View) -> None:
        super().__init__()
        self._tracks, self._metric, self._view = tracks, metric, view

    def compose(self) -> ComposeResult:
        name = "-".join(slug(track.name) for track in self._tracks)
        with Vertical(classes="dialog -form") as dialog:
            dialog.border_title = "Export"
            yield Field("file", "file", str(Path.cwd() / f"{name}-{slug(self._metric.title)}.svg"))
            with Horizontal(classes="field"):
                yield Label("charts")
                choices = [
                    (Text(f"{self._metric.title} as shown"), "one"),
                    (Text("all charts as shown"), "all"),
                ]
                yield Select(choices, value="one", allow_blank=False, compact=True)
            yield Static(
                ".svg and .png are figures for papers and pages. .csv has every value of every"
                " step.",
                classes="hint",
            )
            yield Static(id="form-error")
            yield DialogKeys(
                KeyHint("enter", "enter", "write"),
                KeyHint("tab", "tab", "next field"),
            )

    def action_submit(self) -> None:
        path = expanded(self.query_one(Field).value).absolute()
        is_single = self.query_one(Select).value == "one"
        record = self._tracks[0].record
        metrics = (
            [self._metric]
            if is_single
            else [metric for metric in record.metrics() if record.curves.get(metric.key)]
        )

        def write() -> None:
            export(path, self._tracks, metrics, self._view)
            self.post_message(self.Written(path))

        self._say(Content.styled("Writing.", "$foreground-muted"))
        self.run_worker(write, thread=True, exclusive=True, group="export", exit_on_error=False)

    def on_export_modal_written(self, message: Written) -> None:
        self.app.notify(f"Wrote {message.path}")
        self.dismiss()

    def on_worker_state_changed(self, event: Worker.StateChanged) -> None:
        if event.state is WorkerState.ERROR and event.worker.error is not None:
            error = event.worker.error
            refusal = error if isinstance(error, LuthierError) else readable(error)
            self._say(
                Content.assemble(
                    (f"{refusal.title}. ", "$error"), f"{refusal.message} {refusal.hint}"
                )
            )

    def _say(self, text: Content) -> None:
        self.query_one("#form-error", Static).update(text)
