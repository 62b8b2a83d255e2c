"""One run, or up to four over each other: charts, figures, samples, timeline and log, as they
come."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import ClassVar

from textual import on
from textual.binding import BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.timer import Timer
from textual.widget import Widget
from textual.widgets import Static

from jobs.errors import LuthierError
from jobs.files import tail_lines
from jobs.job import Job
from jobs.state import Alive, Failed, Lost, Starting, State, Stopped
from models.certificate import NO_CERTIFICATE
from models.runs import Run
from tui import actions
from tui.runs.chart import Chart
from tui.runs.chart_board import ChartBoard
from tui.runs.chart_keys import CHART_ACTIONS, ChartKeys
from tui.runs.colours import MOST_RUNS
from tui.runs.panels import PANELS, RunPanels
from tui.runs.plots import spaced
from tui.runs.run_view import RunView
from tui.runs.timeline import Timeline
from tui.shared.action import Place
from tui.shared.certificate_badge import badge
from tui.shared.job_actions import confirm_stop, resume, show_certificate
from tui.shared.state_label import bar, state_content
from workshop import number_format
from workshop.job_list import JobRow
from workshop.runs.record import RunRecord

_POLL_SECONDS = 1.0
_MARGIN = 4  # cells beside what the screen shows


class RunScreen(ChartKeys):
    """Follows the jobs' own files; nothing is asked of the runs themselves. `others` are drawn over
    the first one."""

    place: ClassVar[Place] = "run"
    CSS_PATH = "run.tcss"
    BINDINGS: ClassVar[list[BindingType]] = actions.bindings("run")
    AUTO_FOCUS = "LogView"

    def __init__(self, job: Job, others: Sequence[Job] = ()) -> None:
        super().__init__()
        self.job = job
        self.others = list(others)[: MOST_RUNS - 1]
        self.state: State = job.state()
        self._standing = NO_CERTIFICATE
        self.view = RunView()
        self.panels = RunPanels(job.log_path)
        self._title_line = Static(id="run-title")
        self._error_line = Static(id="run-error")
        self._told = Content(""), Content("")  # title and error as they are shown
        self._timer: Timer | None = None

    def compose_body(self) -> Iterable[Widget]:
        yield Vertical(self._title_line, self._error_line, self.view, self.panels, id="run")

    def on_mount(self) -> None:
        self.view.open(self.job, self.state)
        self._lay_over()
        self._timer = self.set_interval(_POLL_SECONDS, self.advance)
        self.advance()

    def on_screen_suspend(self) -> None:
        if self._timer is not None:
            self._timer.pause()

    def on_screen_resume(self) -> None:
        if self._timer is not None:
            self._timer.resume()
            self.advance()

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
            title, error = self._title(), self._error()
            if not title.is_same(self._told[0]):
                self._title_line.update(title, layout=False)
            if not error.is_same(self._told[1]):
                self._error_line.display = bool(error)
                self._error_line.update(error)
            self._told = title, error

    def jobs_changed(self, rows: list[JobRow]) -> None:
        for row in rows:
            if row.id == self.job.id:
                self.state, self._standing = row.state, row.standing
        alive = {row.id: row.alive for row in rows}
        for track in self.view.tracks:
            track.alive = alive.get(track.job.id, False)
        self.advance()

    def _title(self) -> Content:
        record = self.record
        name = Content.assemble((self.job.spec.name, "bold"), "   ", state_content(self.state))
        if self._standing.verdict is not None:
            name = Content.assemble(
                name, ("   certificate ", "$foreground-muted"), badge(self._standing)
            )
        if isinstance(self.state, Starting):
            waited = number_format.duration(
                number_format.now() - (record.phase_since or self.state.since)
            )
            return Content.assemble(
                name, f"   {self.state.phase}", (f"  {waited}", "$foreground-muted")
            )
        if not record.total:
            return name
        share = f"{100 * record.step / record.total:.0f} %"
        head = [
            name,
            Content.assemble(
                bar(record.step, record.total, 40 if self.app.size.width >= 100 else 20),
                f"  {share:>5}",
            ),
        ]
        epoch = record.figure("epoch")
        epochs = record.plan.epochs if record.plan is not None else None
        of = f" of {epochs:g}" if epochs is not None else ""
        left = record.seconds_left if isinstance(self.state, Alive) else None
        more = [
            Content.assemble(
                ("step ", "$foreground-muted"), f"{spaced(record.step)} of {spaced(record.total)}"
            ),
            (
                Content.assemble(("epoch ", "$foreground-muted"), f"{epoch:.2f}{of}")
                if epoch is not None
                else Content("")
            ),
            (
                Content.assemble(number_format.duration(left), (" left", "$foreground-muted"))
                if left is not None
                else Content("")
            ),
        ]
        told = [part for part in more if part.plain]
        while (
            told
            and sum(part.cell_length + 3 for part in [*head, *told]) - 3
            > self.app.size.width - _MARGIN
        ):
            del told[0]  # what counts most comes last
        return Content("   ").join([*head, *told])

    def _error(self) -> Content:
        match self.state:
            case Failed(title=title, message=message, hint=hint):
                first = message.splitlines()[0] if message else ""
                return Content.assemble(
                    (f"{title}. ", "bold $error"),
                    first,
                    (f"  {hint}" if hint else "", "$foreground-muted"),
                )
            case Lost():
                return Content.from_markup(
                    "[b $error]Lost.[/] Its supervisor is gone: a reboot, or its end. What was"
                    " saved is there."
                )
            case _:
                return Content("")

    # What can be done

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        match action.partition("(")[0]:
            case "stop":
                return isinstance(self.state, Alive)
            case "chat":
                return Run(self.job).can_talk
            case "serve" | "certificate":
                return Run(self.job).folder.has_adapter
            case "resume":
                return isinstance(self.state, Stopped | Failed | Lost)
            case "error":
                return isinstance(self.state, Failed)
            case "go":
                return self.panels.current == "timeline"
            case name if name in CHART_ACTIONS:
                return self.record.has_points
            case _:
                return True

    def action_stop(self) -> None:
        confirm_stop(self, self.job)

    def action_resume(self) -> None:
        resume(self, self.job)

    async def action_serve(self) -> None:
        await self.app.offer_server(run_id=self.job.id)

    async def action_chat(self) -> None:
        await self.app.chat_with(self.job)

    def action_certificate(self) -> None:
        show_certificate(self, self.job)

    def action_error(self) -> None:
        if isinstance(self.state, Failed):
            error = LuthierError(self.state.title, self.state.message, self.state.hint)
            self.app.show_failure(error, tail_lines(self.job.log_path, 12))

    def action_copy(self) -> None:
        self.app.copy_to_clipboard(str(self.job.directory))
        self.notify(f"Copied {self.job.directory}")

    def action_export(self) -> None:
        from tui.runs.export_modal import ExportModal

        self.app.push_screen(ExportModal(self.view.tracks, self.board.metric, self.board.view))

    def action_overlay(self) -> None:
        from tui.runs.overlay_modal import OverlayModal

        runs = [row for row in self.app.rows or [] if row.kind == "run" and row.id != self.job.id]
        shown = {job.id for job in self.others}

        def chosen(jobs: list[Job] | None) -> None:
            if jobs is not None:
                self.others = jobs
                self._lay_over()
                self.panels.choose("differs" if jobs else "log")

        self.app.push_screen(OverlayModal(self.job.spec.name, runs, shown), chosen)

    def _lay_over(self) -> None:
        alive = {row.id: row.alive for row in self.app.rows or []}
        self.view.overlay([(job, alive.get(job.id, True)) for job in self.others])
        self.panels.show(self.view.tracks)

    @on(Chart.Chosen)
    def chart_clicked(self) -> None:
        self.panels.take_focus()

    # The panels

    def action_turn_panel(self, step: int) -> None:
        self.remove_class("-full")
        self.panels.turn(step)

    def action_panel(self, name: str) -> None:
        self.panels.choose(next(panel for panel in PANELS if panel == name))

    def action_go(self) -> None:
        self.query_one(Timeline).go()

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
