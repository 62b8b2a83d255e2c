"""A job that is no run: its phases, what came of it, and its log."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, ClassVar

from textual import on
from textual.binding import BindingType
from textual.containers import Vertical, VerticalScroll
from textual.content import Content
from textual.widget import Widget

from jobs.events import Event, Follower
from jobs.files import tail_lines
from jobs.job import Job
from jobs.luthier_error import LuthierError
from jobs.state import Alive, Done, Failed, Lost, State, Stopped
from models.events import Phase, Queued, Started, typed
from models.runs import Run, run_of
from tui import key_bindings
from tui.runs.header import trouble
from tui.runs.job_facts import KIND_WORDS, LABEL, job_facts, last_sign
from tui.serve.log_words import in_words
from tui.shared.action import Handler, Place
from tui.shared.hanging_text import HangingText
from tui.shared.job_actions import confirm_stop, open_guard, show_certificate
from tui.shared.log_panel import LogPanel
from tui.shared.log_view import LogView
from tui.shared.phase_lines import phase_lines
from tui.shared.screen import LuthierScreen
from tui.shared.state_label import state_content
from tui.shared.steady_text import SteadyText
from workshop import number_format
from workshop.job_list import JobRow

if TYPE_CHECKING:
    from workshop.comparison.reports import Report

_MUTED = "$foreground-muted"


class JobScreen(LuthierScreen):
    """Follows the job's own files, as the screen of a run does."""

    place: ClassVar[Place] = "job"
    poll_seconds = 1.0
    CSS_PATH = "job.tcss"
    BINDINGS: ClassVar[list[BindingType]] = key_bindings.bindings("job")
    AUTO_FOCUS = "LogView"

    def __init__(self, job: Job) -> None:
        super().__init__()
        self.job = job
        self.run_job = run_of(job)
        """The run that it is about."""
        self.state: State = job.state()
        self._phases: list[Phase] = []
        self._began: float | None = None
        self._follower = Follower(job.events_path)
        self.handlers = self._handlers()

    def compose_body(self) -> Iterable[Widget]:
        with Vertical(id="job"):
            yield SteadyText(id="job-title")
            yield HangingText(id="job-trouble")
            yield HangingText(id="job-facts")
            with VerticalScroll(id="job-phases", classes="panel", can_focus=False) as panel:
                panel.border_title = "phases"
                yield SteadyText(id="job-phase-lines")
            with Vertical(id="job-log", classes="panel") as panel:
                panel.border_title = "log"
                yield LogPanel(
                    self.job.log_path, in_words if self.job.spec.kind == "server" else None
                )

    def on_mount(self) -> None:
        self.advance()

    def jobs_changed(self, rows: list[JobRow]) -> None:
        self.state = next((row.state for row in rows if row.id == self.job.id), self.state)
        self.advance()

    def advance(self) -> None:
        """Read what is new in the job's files, and show it; the time of a phase ticks, too."""
        for event in self._follower.read():
            self._read(event)
        with self.app.batch_update():
            self.query_one(LogPanel).advance()
            self._show()

    def _read(self, event: Event) -> None:
        """Those of earlier attempts are of no interest."""
        match typed(event):
            case Queued():
                self._phases, self._began = [], None
            case Started(t=began):
                self._began = began
            case Phase() as phase:
                self._phases.append(phase)
            case _:
                pass

    def _show(self) -> None:
        state = self.state
        end = _ended(state)
        self.query_one("#job-title", SteadyText).update(self._title())
        for name, text, indent in (
            ("#job-trouble", trouble(state), 0),
            ("#job-facts", job_facts(self.job, self.run_job, state), LABEL),
        ):
            widget = self.query_one(name, HangingText)
            widget.display = bool(text)
            widget.hang(text, indent)
        now = number_format.now() if end is None else end
        lines = phase_lines(self._phases, now, last_sign(state))
        panel = self.query_one("#job-phases")
        panel.display = bool(lines)
        self.query_one("#job-phase-lines", SteadyText).update(Content("\n").join(lines))
        if end is None:
            panel.scroll_end(animate=False)

    def _title(self) -> Content:
        spec, state = self.job.spec, self.state
        parts = [
            Content.styled(spec.name, "bold"),
            state_content(state),
            Content.styled(KIND_WORDS.get(spec.kind, spec.kind), _MUTED),
        ]
        end = _ended(state)
        if self._began is not None and not isinstance(state, Lost):
            until = number_format.now() if end is None else end
            took = number_format.duration(max(0.0, until - self._began))
            parts.append(Content(took))
        if end is not None:
            parts.append(Content.styled(number_format.age(end), _MUTED))
        return Content("   ").join(parts)

    @on(LogView.Searched)
    def search_went_on(self) -> None:
        self.query_one("#job-log").border_title = Content(f"log{self.query_one(LogPanel).matches}")

    def step_back(self) -> bool:
        return self.query_one(LogPanel).step_back() or super().step_back()

    # What can be done

    def _handlers(self) -> dict[str, Handler]:
        run = self.run_job
        return {
            "open_run": Handler(self._open_run, lambda: run is not None),
            "certificate": Handler(
                self._show_certificate,
                lambda: run is not None and Run(run).folder.has_adapter,
            ),
            "report": Handler(
                self._read_report,
                lambda: self.job.spec.kind in ("compare", "guard") and isinstance(self.state, Done),
            ),
            "error": Handler(self._show_error, lambda: isinstance(self.state, Failed)),
            "stop": Handler(
                lambda: confirm_stop(self, self.job), lambda: isinstance(self.state, Alive)
            ),
            "copy": Handler(self._copy_path),
        }

    def _open_run(self) -> None:
        if self.run_job is not None:
            self.app.open_run(self.run_job)

    def _show_certificate(self) -> None:
        if self.run_job is not None:
            show_certificate(self, self.run_job)

    def _read_report(self) -> None:
        if self.job.spec.kind == "guard":
            open_guard(self, self.job)
            return
        from workshop.comparison.reports import read_report

        self.in_thread(lambda: read_report(self.job.directory), self._open_report, group="report")

    def _open_report(self, report: Report | None) -> None:
        from tui.compare.report_screen import ReportScreen

        if report is not None:
            self.app.push_screen(ReportScreen(self.job, report))

    def _show_error(self) -> None:
        if isinstance(self.state, Failed):
            error = LuthierError(self.state.title, self.state.message, self.state.hint)
            self.app.show_failure(error, tail_lines(self.job.log_path, 12))

    def _copy_path(self) -> None:
        self.app.copy_to_clipboard(str(self.job.directory))
        self.notify(f"Copied {self.job.directory}", markup=False)


def _ended(state: State) -> float | None:
    """When the job ended; None while it runs."""
    return state.at if isinstance(state, Done | Stopped | Failed | Lost) else None
