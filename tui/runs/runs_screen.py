"""Runs, and below them all other jobs, with their states."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING, ClassVar

from textual import on
from textual.binding import BindingType
from textual.content import Content
from textual.widget import Widget
from textual.widgets import Input, OptionList

from jobs.job import DamagedJob
from jobs.state import Failed, Lost, Queued, Stopped
from models.runs import Run
from tui import key_bindings
from tui.runs.colours import MOST_RUNS, RUN_COLOURS
from tui.shared.action import Place
from tui.shared.glyphs import glyphs
from tui.shared.messages import JobRemoved
from tui.shared.row_table import Column, Row, RowTable
from tui.shared.screen import LuthierScreen
from tui.shared.state_label import progress_content, state_content
from tui.shared.steady_text import SteadyText
from workshop import number_format
from workshop.job_list import JobRow

if TYPE_CHECKING:
    from tui.runs.run_view import RunView

COLUMNS = [
    Column("name", weight=3),
    Column("state", 10),
    Column("progress", weight=4),
    Column("model", 16, from_width=120),
    Column("loss", 6, right=True),
    Column("eval loss", 9, right=True, from_width=120),
    Column("left", 6, right=True),
    Column("age", 5, right=True),
]


ORDERS = ("newest", "name", "loss", "eval loss")

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
        self.order = ORDERS[0]
        self._preview: RunView | None = None

    def compose_body(self) -> Iterable[Widget]:
        yield SteadyText("", id="left-waiting")
        yield RowTable(COLUMNS, "jobs")
        yield SteadyText("", id="empty", classes="empty")
        yield Input(placeholder="name, kind or state", id="filter", compact=True)

    def jobs_changed(self, rows: list[JobRow]) -> None:
        text = self.query_one("#filter", Input).value
        matching = [row for row in rows if row.matches(text)]
        damaged = [
            damaged_job
            for damaged_job in self.app.damaged
            if all(word in f"{damaged_job.id} damaged".lower() for word in text.lower().split())
        ]
        table = self.query_one(RowTable)
        width = 20 if self.has_class("-wide") else 8
        cells = {row.id: _cells(row, width, self._mark(row.id)) for row in matching}
        ordered = _sorted([row for row in matching if row.kind == "run"], self.order)
        runs = [Row(row.id, cells[row.id]) for row in ordered]
        others = [Row(row.id, cells[row.id]) for row in matching if row.kind != "run"]
        heading = Content.styled("Other jobs", "$foreground-muted")
        table.show(
            [
                *runs,
                *([Row("heading", [heading], heading=True)] if runs and others else []),
                *others,
                *(Row(damaged_job.id, _damaged_cells(damaged_job)) for damaged_job in damaged),
            ]
        )
        table.display = bool(matching or damaged)
        self._show_left_waiting(sum(row.left_waiting for row in rows))
        self.show_preview()
        empty = self.query_one("#empty", SteadyText)
        empty.display = not table.display
        empty.update(_nothing(text if rows else None))

    def _show_left_waiting(self, count: int) -> None:
        line = self.query_one("#left-waiting", SteadyText)
        line.display = count > 0
        subject = "1 job was waiting" if count == 1 else f"{count} jobs were waiting"
        again = f" queues {'it' if count == 1 else 'them'} again."
        line.update(
            Content.assemble(
                (f"{subject} when the machine went down.", "$warning"),
                " ",
                ("Q", "$primary"),
                again,
            )
        )

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
                return row.kind == "run" and Run(row.job).can_talk
            case "serve":
                return row.kind == "run" and Run(row.job).folder.has_adapter
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
        if row.kind in ("server", "api"):
            await self.app.open_server()
        elif row.kind == "inspect":
            await self.app.open_inspection(row.job)
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

    def _mark(self, job_id: str) -> Content:
        """The sign and the colour that a marked run will have."""
        if job_id not in self.marked:
            return Content("")
        slot = self.marked.index(job_id)
        return Content.assemble((glyphs().runs[slot], RUN_COLOURS[slot]), " ")

    def action_sort(self) -> None:
        """The next order."""
        self.order = ORDERS[(ORDERS.index(self.order) + 1) % len(ORDERS)]
        self.notify(f"Runs: {self.order} first" if self.order == "newest" else f"By {self.order}")
        self.jobs_changed(self.app.rows or [])

    def action_new(self) -> None:
        from tui.runs.new_run import NewRunModal

        self.app.push_screen(NewRunModal(), self.app.open_started)

    def action_stop(self) -> None:
        from tui.shared.job_actions import confirm_stop

        if self.row is not None:
            confirm_stop(self, self.row.job)

    async def action_serve(self) -> None:
        if self.row is not None:
            await self.app.offer_server(run_id=self.row.id)

    async def action_chat(self) -> None:
        if self.row is not None:
            await self.app.chat_with(self.row.job)

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
        box = self.query_one("#filter", Input)
        box.add_class("-open")
        box.focus()

    @on(Input.Changed, "#filter")
    def filter_changed(self) -> None:
        self.jobs_changed(self.app.rows or [])

    @on(Input.Submitted, "#filter")
    def filter_chosen(self) -> None:
        """Back to the list; the filter stays, and stays visible, unless it is empty."""
        box = self.query_one("#filter", Input)
        box.set_class(bool(box.value), "-open")
        self.query_one(RowTable).options.focus()

    def step_back(self) -> bool:
        box = self.query_one("#filter", Input)
        if self.marked and not box.has_class("-open"):
            self.marked.clear()
            self.jobs_changed(self.app.rows or [])
            return True
        if not box.has_class("-open"):
            return False
        box.value = ""
        box.remove_class("-open")
        self.query_one(RowTable).options.focus()
        return True


def _sorted(rows: list[JobRow], order: str) -> list[JobRow]:
    """The rows in this order; those without the figure come last."""
    match order:
        case "name":
            return sorted(rows, key=lambda row: row.name)
        case "loss":
            return sorted(rows, key=lambda row: math.inf if row.loss is None else row.loss)
        case "eval loss":
            return sorted(
                rows, key=lambda row: math.inf if row.eval_loss is None else row.eval_loss
            )
        case _:
            return rows


def _cells(row: JobRow, bar_width: int, mark: Content) -> list[Content]:
    """A run's, or with its kind before its progress, those of another job."""
    progress = progress_content(row, bar_width)
    kind = (row.kind, "$secondary")
    return [
        Content.assemble(mark, row.name),
        state_content(row.state),
        progress if row.kind == "run" else Content.assemble(kind, "  ", progress),
        Content.styled(row.model, "$foreground-muted"),
        Content(number_format.loss(row.loss)),
        Content(number_format.loss(row.eval_loss)),
        Content(
            number_format.short_duration(row.seconds_left) if row.seconds_left is not None else ""
        ),
        Content.styled(
            number_format.short_duration(number_format.now() - row.created), "$foreground-muted"
        ),
    ]


def _damaged_cells(damaged: DamagedJob) -> list[Content]:
    state = Content.assemble((glyphs().failed, "$error"), " damaged")
    return [Content(damaged.id), state, Content(damaged.why), *[Content("")] * 5]


def _nothing(text: str | None) -> Content:
    """What stands where no job is shown: because of the filter `text`, or because there is none."""
    if text is None:
        keys = {
            "n": "starts a run",
            "5": "looks at data first",
            "2": "shows the models",
            "?": "tells more",
        }
        about = (
            "Runs go on without this window, and wait for each other in a queue.\n`luthier demo`"
            " shows it all in a few minutes."
        )
        offered = Content("   ").join(
            Content.assemble((key, "$primary"), f" {effect}") for key, effect in keys.items()
        )
        return Content.assemble(
            "Nothing has run here yet.\n\n", offered, "\n\n", (about, "$foreground-muted")
        )
    return Content.from_markup(
        "Nothing matches [$foreground]$text[/].\n\n[$primary]esc[/] shows all again", text=text
    )
