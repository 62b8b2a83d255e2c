"""Comparisons: those that there are, how far they are, and the figures of the highlighted one."""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar

from textual import on
from textual.binding import BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.events import Resize
from textual.widget import Widget
from textual.widgets import OptionList

from jobs.counting import counted
from jobs.foreign_json import Damaged
from jobs.home import jobs_directory
from jobs.job import Job
from jobs.luthier_error import LuthierError
from jobs.spec import JOB_ID
from jobs.state import Done, Failed, Lost, Stopped
from tui import key_bindings
from tui.compare.report_text import figures_text
from tui.shared.action import Handler, Place
from tui.shared.job_actions import confirm_removal, confirm_stop
from tui.shared.messages import JobRemoved
from tui.shared.row_table import Column, Row, RowTable
from tui.shared.screen import LuthierScreen
from tui.shared.state_label import progress_content, state_content
from tui.shared.steady_text import SteadyText
from tui.shared.text_pane import TextPane
from workshop import number_format
from workshop.comparison.launch import go_on, order_of
from workshop.comparison.reports import Report, read_report
from workshop.job_list import JobRow, Stamp, tuned

_MUTED = "$foreground-muted"
_COLUMNS = [
    Column("comparison", weight=3),
    Column("state", 10),
    Column("progress", weight=3),
    Column("models", weight=3, from_width=100),
    Column("prompts", weight=3, from_width=100),
    Column("age", 5, right=True),
]
_NOTHING = (
    "Nothing has been compared yet.\n\n"
    "{compare.new} asks the base and tuned models every prompt of a file,\n"
    "and shows their answers side by side with figures.\n\n"
    "{app.chat} opens a chat with both"
)


class CompareScreen(LuthierScreen):
    place: ClassVar[Place] = "compare"
    CSS_PATH = "compare.tcss"
    BINDINGS: ClassVar[list[BindingType]] = key_bindings.bindings("compare")
    AUTO_FOCUS = "#comparisons OptionList"

    def __init__(self) -> None:
        super().__init__()
        self._reports: dict[tuple[str, Stamp], Report | str | None] = {}
        self.handlers = {
            "open": Handler(self._open, lambda: isinstance(self.report, Report)),
            "new": Handler(self._new),
            "stop": Handler(self._stop, lambda: self.row is not None and self.row.alive),
            "resume": Handler(self._resume, self._can_go_on),
            "delete": Handler(self._delete, lambda: self.row is not None and not self.row.alive),
            "copy": Handler(self._copy, lambda: self.row is not None),
        }

    def compose_body(self) -> Iterable[Widget]:
        yield SteadyText(key_bindings.with_keys(_NOTHING), id="no-comparison", classes="empty")
        yield RowTable(_COLUMNS, "comparisons")
        with Vertical(id="comparison", classes="panel"):
            yield TextPane()

    # What is shown

    def on_resize(self, event: Resize) -> None:
        self.call_after_refresh(self._show_report)

    def jobs_changed(self, rows: list[JobRow]) -> None:
        comparisons = self.comparisons
        table = self.query_one(RowTable)
        if not comparisons and table.options.has_focus:
            self.set_focus(None)
        elif comparisons and not table.display:
            self.call_after_refresh(table.options.focus)
        table.display = self.query_one("#comparison").display = bool(comparisons)
        self.query_one("#no-comparison").display = not comparisons
        table.show([Row(row.id, _cells(row)) for row in comparisons])
        if comparisons and table.options.highlighted is None:
            table.options.highlighted = 0
        self._show_report()

    def _show_report(self) -> None:
        row, pane = self.row, self.query_one(TextPane)
        if row is None:
            return
        self.query_one("#comparison").border_title = Content(row.name)
        self._read_report(row)
        match self.report:
            case Report() as report:
                pane.show(figures_text(report, pane.scrollable_content_region.width or 80))
            case str() as problem:
                pane.show(Content.styled(problem, "$error"))
            case None:
                is_read = (row.id, row.stamp) in self._reports
                reading = Content.styled("Reading the report.", _MUTED)
                pane.show(_state_text(row) if is_read or row.alive else reading)

    @property
    def comparisons(self) -> list[JobRow]:
        return [row for row in self.app.rows or [] if row.kind == "compare"]

    @property
    def row(self) -> JobRow | None:
        """The highlighted one."""
        highlighted = self.query_one(RowTable).highlighted_id
        return next((row for row in self.comparisons if row.id == highlighted), None)

    @property
    def report(self) -> Report | str | None:
        """The report of the highlighted comparison: None until it is written, a text if it cannot
        be read."""
        row = self.row
        return None if row is None else self._reports.get((row.id, row.stamp))

    def _read_report(self, row: JobRow) -> None:
        """In a thread, for it may be long; one at a time is kept."""
        key = (row.id, row.stamp)
        if key in self._reports:
            return

        def take(report: Report | str | None) -> None:
            self._reports = {key: report}
            self._show_report()
            self.refresh_hints()

        self.in_thread(lambda: _read(row), take, group="report", exclusive=True)

    @on(OptionList.OptionHighlighted)
    def highlight_moved(self) -> None:
        self._show_report()
        self.refresh_hints()

    @on(OptionList.OptionSelected)
    async def row_clicked(self) -> None:
        await self.run_action("do('open')")

    # What can be done

    def _can_go_on(self) -> bool:
        return self.row is not None and isinstance(self.row.state, Stopped | Failed | Lost)

    def _open(self) -> None:
        from tui.compare.report_screen import ReportScreen

        row, report = self.row, self.report
        if row is not None and isinstance(report, Report):
            self.app.push_screen(ReportScreen(row.job, report))

    def _new(self) -> None:
        self.in_thread(lambda: tuned(self.app.rows or []), self._ask, group="form", exclusive=True)

    def _ask(self, runs: list[JobRow]) -> None:
        from tui.compare.form import CompareForm

        if not runs:
            hint = "n on Runs starts one; Chat talks to base models."
            raise LuthierError("Nothing to compare", "No run has left a tuned model yet.", hint)
        self.app.push_screen(CompareForm(runs), self._started)

    def _started(self, job_id: str | None) -> None:
        if job_id is not None:
            self.notify("The comparison is running: the list shows how far it is.")
            self.app.read_jobs()

    def _stop(self) -> None:
        if self.row is not None:
            confirm_stop(self, self.row.job)

    def _resume(self) -> None:
        row = self.row
        if row is not None:
            self.in_thread(lambda: go_on(row.job), lambda _: self.app.read_jobs(), group="go on")

    def _delete(self) -> None:
        if self.row is not None:
            confirm_removal(self, self.row.job, self.row.name)

    def on_job_removed(self, message: JobRemoved) -> None:
        self.notify(f"{message.name} was deleted.", markup=False)
        self.app.read_jobs()

    def _copy(self) -> None:
        if self.row is not None:
            self.app.copy_to_clipboard(str(self.row.job.directory))
            self.notify(f"Copied {self.row.job.directory}", markup=False)


def _read(row: JobRow) -> Report | str | None:
    try:
        return read_report(row.job.directory)
    except (Damaged, OSError) as error:
        return str(error)


def _cells(row: JobRow) -> list[Content]:
    from tui.compare.form import prompts_name

    try:
        order = order_of(row.job)
        models = ", ".join(["base", *map(_short, order.runs)])
        prompts = prompts_name(order.prompts)
    except LuthierError:
        models = prompts = ""
    return [
        Content(row.job.short_id),
        state_content(row.state),
        _questions(row) if isinstance(row.state, Done) else progress_content(row, 12),
        Content.styled(models, _MUTED),
        Content.styled(prompts, _MUTED),
        Content.styled(number_format.steady_age(row.created), _MUTED),
    ]


def _short(run: str) -> str:
    """A run's id without its time, as sentences have it; a name as it is."""
    return Job(jobs_directory() / run).short_id if JOB_ID.fullmatch(run.partition("@")[0]) else run


def _questions(row: JobRow) -> Content:
    count = row.state.result.get("questions") if isinstance(row.state, Done) else None
    return Content.styled(counted(count, "prompt") if isinstance(count, int) else "", _MUTED)


def _state_text(row: JobRow) -> Content:
    """What stands where there is no report yet."""
    if isinstance(row.state, Failed):
        state = row.state
        return Content.assemble(
            (f"{state.title}\n", "bold $error"), state.message, (f"\n{state.hint}", _MUTED)
        )
    if row.alive:
        return Content("The report comes with the last answer.")
    return key_bindings.with_keys(
        "It ended before it wrote a report. {compare.resume} continues it, and keeps the answers"
        " it has."
    )
