"""One run: its loss, its figures and its log, as they come."""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar

from textual.binding import BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.timer import Timer
from textual.widget import Widget
from textual.widgets import Static

from jobs.errors import LuthierError
from jobs.files import tail_lines
from jobs.job import Job
from jobs.state import Alive, Failed, Lost, Starting, State
from tui import actions, figures
from tui.actions import Place
from tui.joblist import JobRow, has_adapter
from tui.run_record import RunRecord
from tui.screens.base import LuthierScreen
from tui.screens.job_actions import confirm_stop
from tui.widgets.log_view import LogView
from tui.widgets.run_view import RunView
from tui.widgets.state_label import bar, state_content

_POLL_SECONDS = 0.5


class RunScreen(LuthierScreen):
    """Follows the job's own files; nothing is asked of the run itself."""

    place: ClassVar[Place] = "run"
    CSS_PATH = "run.tcss"
    BINDINGS: ClassVar[list[BindingType]] = actions.bindings("run")
    AUTO_FOCUS = "LogView"

    def __init__(self, job: Job) -> None:
        super().__init__()
        self.job = job
        self.state: State = job.state()
        self._timer: Timer | None = None

    def compose_body(self) -> Iterable[Widget]:
        with Vertical(id="run"):
            yield Static(id="run-title")
            yield Static(id="run-error")
            yield RunView()
            with Vertical(id="log-panel", classes="panel") as panel:
                panel.border_title = "log"
                yield LogView(self.job.log_path)

    def on_mount(self) -> None:
        self.query_one(RunView).open(self.job, self.state)
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
    def record(self) -> RunRecord:
        return self.query_one(RunView).record

    def advance(self) -> None:
        """Read what is new in the job's files, in bounded time, and show it."""
        with self.app.batch_update():
            self.query_one(RunView).advance(self.state)
            self.query_one(LogView).advance()
            self.query_one("#run-title", Static).update(self._title())
            self.query_one("#run-error", Static).update(self._error_line())
            self.query_one("#run-error").display = isinstance(self.state, Failed | Lost)

    def jobs_changed(self, rows: list[JobRow]) -> None:
        self.state = next((row.state for row in rows if row.id == self.job.id), self.state)
        self.advance()

    def _title(self) -> Content:
        record = self.record
        name = Content.assemble((self.job.spec.name, "bold"), "   ", state_content(self.state))
        if isinstance(self.state, Starting):
            waited = figures.duration(figures.now() - (record.phase_since or self.state.since))
            return Content.assemble(name, f"   {self.state.phase}", (f"  {waited}", "$foreground-muted"))
        if record.total:
            share = f"{100 * record.step / record.total:.0f} %"
            width = 20 if self.app.size.width < 100 else 40
            return Content.assemble(name, "   ", bar(record.step, record.total, width), f"  {share:>5}")
        return name

    def _error_line(self) -> Content:
        match self.state:
            case Failed(title=title, message=message, hint=hint):
                first = message.splitlines()[0] if message else ""
                return Content.assemble((f"{title}. ", "bold $error"), first, (f"  {hint}" if hint else "", "$foreground-muted"))
            case Lost():
                return Content.from_markup("[b $error]Lost.[/] Its supervisor is gone: a reboot, or its end. What was saved is there.")
            case _:
                return Content("")

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        match action:
            case "stop":
                return isinstance(self.state, Alive)
            case "serve":
                return has_adapter(self.job)
            case "error":
                return isinstance(self.state, Failed)
            case "scale":
                return bool(self.record.train.buckets)
            case _:
                return True

    def action_stop(self) -> None:
        confirm_stop(self, self.job)

    async def action_serve(self) -> None:
        await self.app.offer_server(run_id=self.job.id)

    def action_error(self) -> None:
        if isinstance(self.state, Failed):
            error = LuthierError(self.state.title, self.state.message, self.state.hint)
            self.app.show_failure(error, tail_lines(self.job.log_path, 12))

    def action_scale(self) -> None:
        self.query_one(RunView).switch_scale()

    def action_copy(self) -> None:
        self.app.copy_to_clipboard(str(self.job.directory))
        self.notify(f"Copied {self.job.directory}")
