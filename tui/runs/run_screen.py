"""One run, or up to four over each other: charts, figures, samples, timeline and log, as they
come."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import ClassVar

from textual import on
from textual.binding import BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.events import Resize
from textual.widget import Widget

from jobs.files import tail_lines
from jobs.job import Job
from jobs.luthier_error import LuthierError
from jobs.state import Alive, Done, Failed, Lost, State, Stopped
from models.runs import Run
from models.standing import NO_CERTIFICATE
from serve.certificate.launch import is_about
from tui import key_bindings
from tui.runs.chart import Chart
from tui.runs.chart_board import ChartBoard
from tui.runs.colours import MOST_RUNS
from tui.runs.header import next_steps, run_title, trouble
from tui.runs.panels import PANELS, RunPanels
from tui.runs.run_view import RunView
from tui.runs.timeline import Timeline
from tui.shared.action import Handler, Place
from tui.shared.job_actions import confirm_stop, resume, show_certificate, show_guard
from tui.shared.screen import LuthierScreen
from tui.shared.steady_text import SteadyText
from workshop.job_list import JobRow
from workshop.runs.record import RunRecord

_MARGIN = 4  # cells beside what the screen shows


class RunScreen(LuthierScreen):
    """Follows the jobs' own files; nothing is asked of the runs themselves. `overlaid` runs are
    drawn over the first one."""

    place: ClassVar[Place] = "run"
    poll_seconds = 1.0
    CSS_PATH = "run.tcss"
    BINDINGS: ClassVar[list[BindingType]] = key_bindings.bindings("run")
    AUTO_FOCUS = ""  # the panel that is shown first

    def __init__(self, job: Job, overlaid: Sequence[Job] = ()) -> None:
        super().__init__()
        self.job = job
        self.overlaid = list(overlaid)[: MOST_RUNS - 1]
        self.state: State = job.state()
        self._standing = NO_CERTIFICATE
        self._is_being_certified = False
        self.view = RunView()
        self.panels = RunPanels(
            job.log_path, "log" if isinstance(self.state, Failed) else PANELS[0]
        )
        self._title_line = SteadyText(id="run-title")
        self._error_line = SteadyText(id="run-error")
        self.handlers = {**self._run_handlers(), **self._chart_handlers()}

    def compose_body(self) -> Iterable[Widget]:
        yield Vertical(self._title_line, self._error_line, self.view, self.panels, id="run")

    def on_mount(self) -> None:
        self.view.open(self.job, self.state)
        self._lay_over()
        self.advance()
        self.panels.take_focus()

    @property
    def board(self) -> ChartBoard:
        return self.view.board

    @property
    def record(self) -> RunRecord:
        return self.view.record

    def advance(self) -> None:
        """Read what is new in the jobs' files, in bounded time, and show it."""
        with self.app.batch_update():
            self.view.advance(self.state)
            self.panels.show(self.view.tracks)
            self._show_lines(self.app.size.width)

    def on_resize(self, event: Resize) -> None:
        """The title is fitted to its width at once, not at the next poll."""
        self._show_lines(event.size.width)

    def _show_lines(self, width: int) -> None:
        title = run_title(self.job, self.state, self._standing, self.record, width - _MARGIN)
        error = self._error()
        self._title_line.update(title, layout=False)
        self._error_line.display = bool(error)
        self._error_line.update(error)

    def jobs_changed(self, rows: list[JobRow]) -> None:
        for row in rows:
            if row.id == self.job.id:
                self.state, self._standing = row.state, row.standing
        run = Run(self.job)
        self._is_being_certified = any(
            row.kind == "certify" and row.alive and is_about(row.job, run) for row in rows
        )
        alive = {row.id: row.alive for row in rows}
        for track in self.view.tracks:
            track.alive = alive.get(track.job.id, False)
        self.advance()

    def _error(self) -> Content:
        if not isinstance(self.state, Done):
            return trouble(self.state)
        possible = {name: handler.enabled() for name, handler in self.handlers.items()}
        return next_steps(possible, self._standing, is_being_certified=self._is_being_certified)

    # What can be done

    def _run_handlers(self) -> dict[str, Handler]:
        """What is done with the run and its panels."""
        job = self.job
        return {
            "stop": Handler(lambda: confirm_stop(self, job), lambda: isinstance(self.state, Alive)),
            "resume": Handler(
                lambda: resume(self, job),
                lambda: isinstance(self.state, Stopped | Failed | Lost),
            ),
            "serve": Handler(
                lambda: self.app.journey.offer_server(run_id=job.id),
                lambda: Run(job).folder.has_adapter,
            ),
            "chat": Handler(lambda: self.app.journey.chat_with(job), lambda: Run(job).can_talk),
            "certificate": Handler(
                lambda: show_certificate(self, job), lambda: Run(job).folder.has_adapter
            ),
            "guard": Handler(lambda: show_guard(self, job), lambda: Run(job).can_talk),
            "error": Handler(self._show_error, lambda: isinstance(self.state, Failed)),
            "copy": Handler(self._copy_path),
            "overlay": Handler(self._choose_overlay, lambda: bool(self._other_runs)),
            "turn_panel": Handler(self._turn_panel),
            "go": Handler(
                lambda: self.query_one(Timeline).go(), lambda: self.panels.current == "timeline"
            ),
        }

    def _chart_handlers(self) -> dict[str, Handler]:
        """What is done with the charts, as soon as they have a point."""
        board = self.board
        runs: dict[str, Callable[..., object]] = {
            "chart": board.choose,
            "scale": board.switch_scale,
            "smooth": board.smooth,
            "zoom": board.zoom,
            "pan": board.pan,
            "whole": board.whole,
            "cursor": board.move_cursor,
            "mark": board.to_mark,
            "full": lambda: self.toggle_class("-full"),
            "export": self._export,
        }
        return {name: Handler(run, lambda: self.record.has_points) for name, run in runs.items()}

    def _show_error(self) -> None:
        if isinstance(self.state, Failed):
            error = LuthierError(self.state.title, self.state.message, self.state.hint)
            self.app.show_failure(error, tail_lines(self.job.log_path, 12))

    def _copy_path(self) -> None:
        self.app.copy_to_clipboard(str(self.job.directory))
        self.notify(f"Copied {self.job.directory}")

    def _export(self) -> None:
        from tui.runs.export_modal import ExportModal

        self.app.push_screen(ExportModal(self.view.tracks, self.board.metric, self.board.view))

    @property
    def _other_runs(self) -> list[JobRow]:
        return [row for row in self.app.rows or [] if row.kind == "run" and row.id != self.job.id]

    def _choose_overlay(self) -> None:
        from tui.runs.overlay_modal import OverlayModal

        overlaid = {job.id for job in self.overlaid}

        def lay_over(jobs: list[Job] | None) -> None:
            if jobs is not None:
                self.overlaid = jobs
                self._lay_over()
                self.panels.choose("differs" if jobs else PANELS[0])

        self.app.push_screen(OverlayModal(self.job.spec.name, self._other_runs, overlaid), lay_over)

    def _lay_over(self) -> None:
        alive = {row.id: row.alive for row in self.app.rows or []}
        self.view.overlay([(job, alive.get(job.id, True)) for job in self.overlaid])
        self.panels.show(self.view.tracks)

    @on(Chart.Chosen)
    def chart_clicked(self) -> None:
        self.panels.take_focus()

    # The panels

    def _turn_panel(self, step: int) -> None:
        self.remove_class("-full")
        self.panels.turn(step)

    def action_panel(self, name: str) -> None:
        self.panels.choose(next(panel for panel in PANELS if panel == name))

    @on(Timeline.Went)
    def went(self, message: Timeline.Went) -> None:
        self.board.show_step(message.step)

    def step_back(self) -> bool:
        if self.panels.step_back():
            return True
        if self.has_class("-full"):
            self.remove_class("-full")
            return True
        return self.board.clear()
