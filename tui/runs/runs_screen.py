"""Runs, and below them all other jobs, with their states."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, ClassVar

from textual import on
from textual.binding import BindingType
from textual.content import Content
from textual.widget import Widget
from textual.widgets import Input, OptionList

from jobs.state import Failed, Lost, Queued, Stopped
from tui import key_bindings
from tui.key_bindings import key_of, with_keys
from tui.runs import run_columns
from tui.runs.colours import MOST_RUNS, RUN_COLOURS
from tui.runs.run_columns import damaged_cells, in_order, run_list
from tui.runs.run_order import RunOrder
from tui.shared.action import Place
from tui.shared.filter_line import FilterLine
from tui.shared.glyphs import glyphs
from tui.shared.messages import JobRemoved
from tui.shared.row_table import Row, RowTable
from tui.shared.screen import LuthierScreen
from tui.shared.steady_text import SteadyText

if TYPE_CHECKING:
    from jobs.job import DamagedJob
    from models.runs import Run
    from tui.runs.run_view import RunView
    from workshop.job_list import JobRow

_ABOUT_A_JOB = (
    "open",
    "mark",
    "stop",
    "serve",
    "chat",
    "delete",
    "filter",
    "resume",
    "edit",
    "move",
    "copy",
)


class RunsScreen(LuthierScreen):
    place: ClassVar[Place] = "runs"
    CSS_PATH = "runs.tcss"
    BINDINGS: ClassVar[list[BindingType]] = key_bindings.bindings("runs")
    AUTO_FOCUS = "OptionList"

    def __init__(self) -> None:
        super().__init__()
        self.marked: list[str] = []
        self.sorting = RunOrder(self)
        self._drawn = run_columns.DrawnCells()
        self.handlers = self.sorting.handlers
        self._preview: RunView | None = None

    def compose_body(self) -> Iterable[Widget]:
        yield SteadyText("", id="left-waiting")
        yield RowTable(run_columns.columns(bool(self.sorting.baseline_id)), "jobs")
        yield SteadyText("", id="empty", classes="empty")
        yield FilterLine("filter", "name, kind or state")

    def jobs_changed(self, rows: list[JobRow]) -> None:
        filter_line = self.query_one(FilterLine)
        text = filter_line.text
        matching = [row for row in rows if row.matches(text)]
        damaged = [
            damaged_job
            for damaged_job in self.app.damaged
            if all(word in f"{damaged_job.id} damaged".lower() for word in text.lower().split())
        ]
        table = self.table
        baseline = next((row for row in rows if row.id == self.sorting.baseline_id), None)
        table.set_columns(run_columns.columns(baseline is not None))
        table.order = self.sorting.order
        marks = {name: _mark(slot) for slot, name in enumerate(self.marked)}
        drawn_with = run_list(table, baseline, marks)
        cells = {row.id: self._drawn.of(row, drawn_with) for row in matching}
        ordered = in_order([row for row in matching if row.kind == "run"], self.sorting.order)
        runs = [Row(row.id, cells[row.id]) for row in ordered]
        other_jobs = [Row(row.id, cells[row.id]) for row in matching if row.kind != "run"]
        heading = Content.styled("Other jobs", "$foreground-muted")
        table.show(
            [
                *runs,
                *([Row("heading", [heading], heading=True)] if runs and other_jobs else []),
                *other_jobs,
                *(Row(each.id, damaged_cells(each, baseline is not None)) for each in damaged),
            ]
        )
        filter_line.show_count(len(matching) + len(damaged), len(rows) + len(self.app.damaged))
        table.display = bool(matching or damaged)
        left_waiting = sum(row.left_waiting for row in rows)
        line = self.query_one("#left-waiting", SteadyText)
        line.display = left_waiting > 0
        line.update(_were_waiting(left_waiting))
        self.show_preview()
        empty = self.query_one("#empty", SteadyText)
        empty.display = not table.display
        empty.update(_nothing(text if rows else None))

    def show_preview(self) -> None:
        """The highlighted run's curve below the list, where the screen is tall enough."""
        row = self.row
        previewed = (
            row if self.has_class("-tall") and row is not None and row.kind == "run" else None
        )
        if self._preview is None and previewed is not None:
            from tui.runs.run_view import RunView

            self._preview = RunView().add_class("-named")
            self.mount(self._preview, after="#empty")
            self.call_after_refresh(self.show_preview)
        elif self._preview is not None:
            self._preview.display = previewed is not None
            if previewed is not None:
                self._preview.open(previewed.job, previewed.state)

    @property
    def table(self) -> RowTable:
        return self.query_one(RowTable)

    def settings_changed(self) -> None:
        self.sorting.read()

    @property
    def row(self) -> JobRow | None:
        """The highlighted one."""
        highlighted = self.query_one(RowTable).highlighted_id if self.app.rows else None
        return next((row for row in self.app.rows or [] if row.id == highlighted), None)

    @property
    def damaged(self) -> DamagedJob | None:
        """The highlighted folder, if it is damaged."""
        highlighted = self.query_one(RowTable).highlighted_id
        return next(
            (damaged_job for damaged_job in self.app.damaged if damaged_job.id == highlighted), None
        )

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if action == "do":
            return super().check_action(action, parameters)
        if action == "requeue":
            return any(row.left_waiting for row in self.app.rows or [])
        if action not in _ABOUT_A_JOB:
            return True
        if self.damaged is not None:
            return action in ("open", "delete", "copy", "filter")
        row = self.row
        return row is not None and action != "copy" and self._possible_with(row, action, parameters)

    def _possible_with(self, row: JobRow, action: str, parameters: tuple[object, ...]) -> bool:
        waits = row.position > 0
        last = max((listed.position for listed in self.app.rows or []), default=0)
        match action:
            case "stop":
                return row.alive
            case "mark":
                return row.kind == "run"
            case "chat":
                return row.kind == "run" and run_of(row).can_talk
            case "serve":
                return row.kind == "run" and run_of(row).folder.has_adapter
            case "delete":
                return waits or not row.alive
            case "resume":
                return row.left_waiting or (
                    row.kind == "run" and isinstance(row.state, Stopped | Failed | Lost)
                )
            case "edit":
                return waits and row.kind == "run"
            case "move":
                return waits and (
                    row.position > 1 if parameters == ("up",) else row.position < last
                )
            case _:
                return True

    @on(OptionList.OptionHighlighted)
    def highlight_moved(self) -> None:
        self.show_preview()
        self.refresh_hints()

    @on(OptionList.OptionSelected)
    async def row_clicked(self) -> None:
        await self.action_open()

    async def action_open(self) -> None:
        row = self.row
        if row is None:
            if self.damaged is not None:
                self.app.show_failure(self.damaged.error)
            return
        if row.kind != "run":
            await self.app.journey.open_listed(row)
        else:
            marked = [
                listed.job
                for name in self.marked
                for listed in self.app.rows or []
                if listed.id == name
            ]
            first, *overlaid = marked if row.id in self.marked else [row.job]
            if row.id in self.marked:
                self.marked.clear()
            self.app.open_run(first, overlaid)

    def action_mark(self) -> None:
        """Mark the highlighted run for being drawn over others, or no longer."""
        row = self.row
        if row is None:
            return
        if row.id in self.marked:
            self.marked.remove(row.id)
        elif len(self.marked) < MOST_RUNS:
            self.marked.append(row.id)
        else:
            self.notify(
                f"At most {MOST_RUNS} runs can be drawn over each other.", severity="warning"
            )
        self.jobs_changed(self.app.rows or [])

    @on(RowTable.TitleClicked)
    def title_clicked(self, message: RowTable.TitleClicked) -> None:
        self.sorting.clicked(message.column)

    async def action_new(self) -> None:
        await self.app.journey.plan_run()

    def action_stop(self) -> None:
        from tui.shared.job_actions import confirm_stop

        if self.row is not None:
            confirm_stop(self, self.row.job)

    async def action_serve(self) -> None:
        if self.row is not None:
            await self.app.journey.offer_server(run_id=self.row.id)

    async def action_chat(self) -> None:
        if self.row is not None:
            await self.app.journey.chat_with(self.row.job)

    def action_delete(self) -> None:
        from tui.shared.job_actions import confirm_removal

        if self.row is not None:
            confirm_removal(
                self, self.row.job, self.row.name, waits=isinstance(self.row.state, Queued)
            )
        elif self.damaged is not None:
            confirm_removal(self, self.damaged.job, self.damaged.id)

    def action_copy(self) -> None:
        if self.damaged is not None:
            self.app.copy_to_clipboard(str(self.damaged.job.directory))
            self.notify(f"Copied {self.damaged.job.directory}", markup=False)

    def action_resume(self) -> None:
        from tui.shared.job_actions import resume

        if self.row is not None:
            resume(self, self.row.job)

    def action_requeue(self) -> None:
        from tui.shared.job_actions import queue_again

        queue_again(self)

    def action_edit(self) -> None:
        from tui.shared.job_actions import edit_recipe

        if self.row is not None:
            edit_recipe(self, self.row.job)

    def action_move(self, target: str) -> None:
        from tui.shared.job_actions import move

        if self.row is not None:
            move(self, self.row.job, target)

    def on_job_removed(self, message: JobRemoved) -> None:
        self.notify(f"{message.name} was deleted.")
        self.app.read_jobs()

    # The filter

    def action_filter(self) -> None:
        self.query_one(FilterLine).open()

    @on(Input.Changed, "#filter")
    def filter_changed(self) -> None:
        self.jobs_changed(self.app.rows or [])

    @on(Input.Submitted, "#filter")
    def filter_chosen(self) -> None:
        """Back to the list; the filter stays, and stays visible, unless it is empty."""
        self.query_one(FilterLine).keep()
        self.query_one(RowTable).options.focus()

    def step_back(self) -> bool:
        filter_line = self.query_one(FilterLine)
        if self.marked and not filter_line.is_open:
            self.marked.clear()
            self.jobs_changed(self.app.rows or [])
            return True
        if not filter_line.is_open:
            return False
        filter_line.close()
        self.query_one(RowTable).options.focus()
        return True


def _mark(slot: int) -> Content:
    """The sign and the colour that a marked run will have."""
    return Content.assemble((glyphs().runs[slot], RUN_COLOURS[slot]), " ")


def _were_waiting(count: int) -> Content:
    subject = "1 job was waiting" if count == 1 else f"{count} jobs were waiting"
    again = f" queues {'it' if count == 1 else 'them'} again."
    words = (f"{subject} when the machine went down.", "$warning")
    return Content.assemble(words, " ", (key_of("runs.requeue"), "$primary"), again)


def _nothing(text: str | None) -> Content:
    """What is shown instead of jobs: none matches the filter `text`, or none exists."""
    if text is None:
        return with_keys(
            "Nothing has run here yet.\n\n{runs.new} starts a run   {app.home} shows what to begin"
            " with   {app.data} looks at data first   {app.models} shows the models   {app.help}"
            " shows all keys\n\n"
        ) + Content.styled(
            "Runs keep running without this window, and wait for each other in a queue.",
            "$foreground-muted",
        )
    return Content.assemble(
        "Nothing matches ",
        (text, "$foreground"),
        with_keys(".\n\n{app.back} shows all again"),
    )


def run_of(row: JobRow) -> Run:
    from models.runs import Run

    return Run(row.job)
