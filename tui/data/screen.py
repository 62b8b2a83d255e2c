"""Data: what becomes of each row, which tokens of it are trained, and how long the samples are."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from textual import on
from textual.binding import BindingType
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.content import Content
from textual.message import Message
from textual.widget import Widget
from textual.widgets import Input, Static

from jobs.events import Follower
from jobs.files import tail_lines
from jobs.job import Job, find
from jobs.luthier_error import LuthierError
from jobs.state import Alive, Done, Failed, Lost, State, Stopped
from models.events import Exited, Phase, Step, typed
from trainer.data.inspection import (
    Inspection,
    Order,
    StoredProposal,
    order_of,
    read_proposals,
    read_vocabulary,
)
from trainer.data.ledger import Entry
from trainer.launch import frozen_recipe
from tui import key_bindings
from tui.data.ledger_table import LedgerTable, ledger_titles
from tui.data.making_line import MakingLine
from tui.data.overview import DataOverview
from tui.data.sample_panel import SamplePanel
from tui.data.token_view import TokenView
from tui.shared.action import Handler, Place
from tui.shared.filter_line import FilterLine
from tui.shared.glyphs import glyphs
from tui.shared.screen import LuthierScreen
from tui.shared.state_label import bar, state_content
from tui.shared.steady_text import SteadyText
from workshop.job_list import JobRow


@dataclass
class InspectionRead(Message):
    """A look at data has ended, and this is what it left."""

    inspection: Inspection


class DataScreen(LuthierScreen):
    """Shows one look at data, the newest if nothing else is asked for: how far it is, or what it
    found."""

    place: ClassVar[Place] = "data"
    poll_seconds = 0.3
    CSS_PATH = "data.tcss"
    BINDINGS: ClassVar[list[BindingType]] = key_bindings.bindings("data")
    AUTO_FOCUS = "LedgerTable"

    def __init__(self) -> None:
        super().__init__()
        self.job: Job | None = None
        self.state: State | None = None
        self.inspection: Inspection | None = None
        self._follower: Follower | None = None
        self.proposals: list[StoredProposal] = []
        self._phase, self._share = "", 0
        self._has_ended = False
        self.handlers = {
            "make": Handler(lambda: self.query_one(MakingLine).begin()),
            "train": Handler(
                lambda: self.app.journey.plan_inspected(self.job),
                lambda: self.job is not None and not isinstance(self.state, Failed),
            ),
        }

    def compose_body(self) -> Iterable[Widget]:
        with Vertical(id="data"):
            yield MakingLine(self._started)
            yield SteadyText(id="data-title")
            yield SteadyText(id="data-format")
            with Horizontal(id="data-body"):
                with Vertical(id="data-left"):
                    with Vertical(id="ledger-panel", classes="panel") as panel:
                        panel.border_title = "ledger"
                        yield Static(id="ledger-titles")
                        yield LedgerTable()
                        yield FilterLine("data-filter", "state, reason or row")
                    yield SamplePanel()
                with Vertical(id="overview-panel", classes="panel") as panel:
                    panel.border_title = "totals"
                    with VerticalScroll(id="overview-scroll"):
                        yield DataOverview()
            yield SteadyText("", id="no-data", classes="empty")

    def on_mount(self) -> None:
        self.show_nothing()

    # Which look is shown

    def jobs_changed(self, rows: list[JobRow]) -> None:
        self.query_one(MakingLine).jobs_changed(rows)
        looks = [row for row in rows if row.kind == "inspect"]
        row_of_look = next(
            (row for row in looks if self.job is not None and row.id == self.job.id), None
        )
        if self.job is None and looks:
            row_of_look = looks[0]
            self.open(row_of_look.job)
        if row_of_look is not None:
            self.state_changed(row_of_look.state)
        elif self.job is not None and not self.job.directory.is_dir():
            self.job = self.inspection = self.state = None
            self.show_nothing()

    def open(self, job: Job) -> None:
        """Show this look, from its beginning."""
        self.job, self.inspection, self._follower = job, None, Follower(job.events_path)
        self._phase, self._share = "waiting", 0
        self._has_ended, self.proposals = False, []
        self.remove_class("-reading", "-overview")
        self.state_changed(job.state())

    def state_changed(self, state: State) -> None:
        self.state = state
        job = self.job
        if isinstance(state, Done) and job is not None and not self._has_ended:
            self._has_ended = True
            self.in_background(lambda: _read(job), group="inspection", exclusive=True)
        if isinstance(state, Failed) and job is not None and not self._has_ended:
            self._has_ended, self.proposals = True, read_proposals(job)
        self.advance()
        self.show_nothing()
        self.refresh_hints()

    def advance(self) -> None:
        """Read what is new in the job's events, in bounded time."""
        if self._follower is None or not isinstance(self.state, Alive):
            return
        for event in self._follower.read():
            match typed(event):
                case Phase(name=name):
                    self._phase, self._share = name, 0
                case Step(step=step, total=total):
                    self._share = round(100 * step / max(1, total))
                case Exited():
                    self.app.read_jobs()
                case _:
                    pass
        self.show_nothing()

    def on_inspection_read(self, message: InspectionRead) -> None:
        if self.job is None or message.inspection.job.id != self.job.id:
            return
        inspection = self.inspection = message.inspection
        self.proposals = read_proposals(inspection.job)
        self.query_one(DataOverview).show(inspection.summary)
        self.query_one(LedgerTable).open(inspection.ledger, _many_files(inspection))
        self.show_nothing()
        self.show_rows()
        if self.focused is None:
            self.call_after_refresh(self.query_one(LedgerTable).focus)
        self.refresh_hints()

    # What is shown

    def show_nothing(self) -> None:
        """Show the title, and what takes the place of the ledger while there is none."""
        self.set_class(self.inspection is None, "-without")
        self.query_one("#data-title", SteadyText).update(
            _title(self.job, self.state, self.inspection)
        )
        if self.inspection is not None:
            formats = self.inspection.summary.formats
            remainder = f"  (and {len(formats) - 1} more)" if len(formats) > 1 else ""
            text = f"{formats[0].name}: {formats[0].reason}{remainder}" if formats else ""
            self.query_one("#data-format", SteadyText).update(Content(text))
        else:
            self.query_one("#no-data", SteadyText).update(
                _in_place_of_rows(self.state, self._phase, self._share, self.proposals)
            )

    @on(Input.Changed, "#data-filter")
    def show_rows(self) -> None:
        """The ledger's rows that the filter lets through."""
        if self.inspection is None:
            return
        filter_line, ledger = self.query_one(FilterLine), self.inspection.ledger
        table = self.query_one(LedgerTable)
        table.show(ledger.matching(filter_line.text))
        filter_line.show_count(len(table), self.inspection.summary.rows)
        self.query_one("#ledger-titles", Static).update(
            ledger_titles(table.size.width, _many_files(self.inspection))
        )

    @property
    def entry(self) -> Entry | None:
        """The highlighted row of the ledger."""
        return None if self.inspection is None else self.query_one(LedgerTable).entry

    # What can be done

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        has_inspection, entry = self.inspection is not None, self.entry
        samples = len(entry.samples) if entry is not None else 0
        match action:
            case "read":
                return entry is not None and not self.has_class("-reading")
            case "filter" | "format":
                return has_inspection and not self.has_class("-reading")
            case "overview":
                return (
                    has_inspection and self.has_class("-narrow") and not self.has_class("-reading")
                )
            case "ids" | "raw" | "copy":
                return samples > 0
            case "turn":
                return samples > 1
            case "propose":
                return bool(self.proposals) and not self.has_class("-reading")
            case "stop":
                is_making = self.query_one(MakingLine).job is not None
                return is_making or isinstance(self.state, Alive)
            case "error":
                return isinstance(self.state, Failed) or (
                    self.inspection is not None and self.inspection.summary.error is not None
                )
            case _:
                return super().check_action(action, parameters)

    @on(LedgerTable.Moved)
    def row_moved(self) -> None:
        self.query_one(SamplePanel).show(self.inspection, self.entry)
        self.refresh_hints()

    def action_look(self) -> None:
        from tui.data.forms import LookModal

        order = order_of(self.job) if self.job is not None else Order()
        source = order.sources[0] if order.sources else ""
        self.app.push_screen(LookModal(source, order.model), self._started)

    def action_format(self) -> None:
        from tui.data.forms import FormatModal

        if self.inspection is not None:
            formats = self.inspection.summary.formats
            self.app.push_screen(
                FormatModal(
                    frozen_recipe(self.inspection.job), formats[0].mapping if formats else {}
                ),
                self._started,
            )

    def action_propose(self) -> None:
        from tui.data.proposals_modal import ProposalsModal

        if self.job is not None and self.proposals:
            self.app.push_screen(
                ProposalsModal(frozen_recipe(self.job), self.proposals, read_vocabulary(self.job)),
                self._started,
            )

    def _started(self, job_id: str | None) -> None:
        if job_id is not None:
            self.open(find(job_id))
            self.app.read_jobs()

    def action_read(self) -> None:
        self.remove_class("-overview")
        self.add_class("-reading")
        self.query_one(TokenView).focus()
        self.refresh_hints()

    def action_ids(self) -> None:
        self.query_one(SamplePanel).switch_ids()

    def action_raw(self) -> None:
        self.query_one(SamplePanel).switch_file()

    def action_overview(self) -> None:
        self.toggle_class("-overview")
        scroll, table = self.query_one("#overview-scroll"), self.query_one(LedgerTable)
        (scroll if self.has_class("-overview") else table).focus()

    def action_turn(self, step: int) -> None:
        self.query_one(SamplePanel).turn(step)

    def action_copy(self) -> None:
        sample = self.query_one(SamplePanel).as_json()
        if sample is not None:
            self.app.copy_to_clipboard(sample)
            self.notify("Copied the sample")

    def action_stop(self) -> None:
        """Nothing is lost by it, so that it is not asked about."""
        from jobs.job import stop

        making = self.query_one(MakingLine).job
        if self.job is not None and isinstance(self.state, Alive):
            stop(self.job)
        elif making is not None:
            stop(making)
        self.app.read_jobs()

    def action_error(self) -> None:
        refusal = self.inspection.summary.error if self.inspection is not None else None
        if refusal is not None:
            self.app.show_failure(LuthierError(refusal.title, refusal.message, refusal.hint))
        elif isinstance(self.state, Failed) and self.job is not None:
            error = LuthierError(self.state.title, self.state.message, self.state.hint)
            self.app.show_failure(error, tail_lines(self.job.log_path, 12))

    # The filter

    def action_filter(self) -> None:
        self.remove_class("-overview")
        self.query_one(FilterLine).open()

    @on(Input.Submitted, "#data-filter")
    def filter_chosen(self) -> None:
        self.query_one(FilterLine).keep()
        self.query_one(LedgerTable).focus()

    def step_back(self) -> bool:
        if self.has_class("-reading") or self.has_class("-overview"):
            self.remove_class("-reading", "-overview")
            self.query_one(LedgerTable).focus()
            self.refresh_hints()
            return True
        if not (filter_line := self.query_one(FilterLine)).is_open:
            return False
        filter_line.close()
        self.query_one(LedgerTable).focus()
        return True


def _title(job: Job | None, state: State | None, inspection: Inspection | None) -> Content:
    if job is None:
        return Content("")
    order = order_of(job)
    name = Path(order.sources[0]).name if order.sources else job.spec.name
    if len(order.sources) > 1:
        name += f" and {len(order.sources) - 1} more"
    parts = [Content.styled(name, "bold")]
    if state is not None and not isinstance(state, Done):
        parts.append(state_content(state))
    if inspection is not None and inspection.summary.error is not None:
        parts.append(
            Content.styled(f"{glyphs().failed} {inspection.summary.error.title}", "$error")
        )
    context = f"{order.context:,}"
    model = f"as {order.model} sees it, context {context}"
    return Content("   ").join([*parts, Content.styled(model, "$foreground-muted")])


def _in_place_of_rows(
    state: State | None, phase: str, share: int, proposals: Sequence[StoredProposal]
) -> Content:
    """What stands where there are no rows yet."""
    match state:
        case None:
            return key_bindings.with_keys(
                "No data has been looked at yet.\n\n{data.look} looks at a file, a folder or a"
                " recipe   {app.help} shows all keys"
                "\n{data.make} makes conversations from a book, a page or a transcript"
            )
        case Failed(title=title, message=message, hint=hint):
            refusal = Content.assemble(
                (title, "bold $error"), f"\n{message}\n\n", (hint, "$foreground-muted")
            )
            if not proposals:
                return refusal
            return refusal + key_bindings.with_keys(
                "\n\n{data.propose} shows how the rows might be read"
            )
        case Stopped() | Lost():
            return key_bindings.with_keys(
                "It was stopped before it had looked at everything.\n\n{data.look} looks again"
            )
        case Done():
            return Content.styled("Reading what was found.", "$foreground-muted")
        case _:
            progress = (
                Content.assemble("\n\n", bar(share, 100, 30), f" {share:>3} %") if share else ""
            )
            return Content.assemble(phase, progress)


def _read(job: Job) -> InspectionRead:
    """A million rows take about two seconds, away from the screen."""
    inspection = Inspection(job)
    while not inspection.ledger.whole:
        inspection.ledger.extend(1.0)
    return InspectionRead(inspection)


def _many_files(inspection: Inspection) -> bool:
    return sum(len(reading.files) for reading in inspection.summary.formats) > 1
