"""All models: base ones, the adapters that runs have left, merged ones, and what is on its way
here."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from textual import on
from textual.binding import BindingType
from textual.containers import Container, Vertical
from textual.content import Content
from textual.events import Resize
from textual.message import Message
from textual.widget import Widget
from textual.widgets import OptionList

from jobs.home import jobs_directory
from jobs.job import Job
from models.events import Phase, newest
from tui import key_bindings
from tui.models.detail import ModelDetail, model_text, pairs_text
from tui.shared.action import Place
from tui.shared.certificate_badge import badge, warning
from tui.shared.glyphs import glyphs
from tui.shared.job_actions import certify_export, confirm_stop, show_certificate
from tui.shared.row_table import Column, Row, RowTable
from tui.shared.screen import LuthierScreen
from workshop import number_format
from workshop.job_list import JobRow

if TYPE_CHECKING:
    from models.catalogue import Entry, Use
    from models.imports.launch import Unfinished
    from tui.models.forms import ModelForm

COLUMNS = [
    Column("model", weight=2),
    Column("base", 10, from_width=72),
    Column("weights", 8, right=True),
    Column("size", 8, right=True, from_width=92),
    Column("context", 7, right=True, from_width=104),
    Column("eval loss", 9, right=True),
    Column("age", 5, right=True),
    Column("made", 16, from_width=120),
    Column("certificate", 14),
]
_GROUPS = (
    ("base", "Base models"),
    ("tuned", "Tuned models"),
    ("full", "Trained as a whole"),
    ("merged", "Merged models"),
)
_SIDE_BY_SIDE = 128  # cells, from which on the list and the facts stand beside each other


@dataclass(frozen=True)
class Arriving:
    """An import or a merge: its job while it runs, else what an import has left. `done` and `total`
    are bytes, 0 where unknown."""

    name: str
    source: str
    phase: str
    done: int
    total: int
    job: JobRow | None = None
    left: Unfinished | None = None

    @property
    def id(self) -> str:
        return f"arriving {self.name}"


@dataclass
class ModelsRead(Message):
    entries: list[Entry]
    uses: dict[str, list[Use]]
    arriving: list[Arriving]
    preparing: bool = field(default=False)


class ModelsScreen(LuthierScreen):
    place: ClassVar[Place] = "models"
    CSS_PATH = "models.tcss"
    BINDINGS: ClassVar[list[BindingType]] = key_bindings.bindings("models")
    AUTO_FOCUS = "#models OptionList"

    def __init__(self) -> None:
        super().__init__()
        self.models: list[Entry] = []
        self.arriving: list[Arriving] = []
        self._uses: dict[str, list[Use]] = {}

    def compose_body(self) -> Iterable[Widget]:
        with Container(id="models-body"):
            yield RowTable(COLUMNS, "models")
            with Vertical(id="model-panel", classes="panel"):
                yield ModelDetail()

    # What is shown

    def jobs_changed(self, rows: list[JobRow]) -> None:
        self.in_background(lambda: _read(rows), group="models", exclusive=True)

    def on_models_read(self, message: ModelsRead) -> None:
        self.models, self.arriving, self._uses = message.entries, message.arriving, message.uses
        rows: list[Row] = []
        runs = {row.id: row for row in self.app.rows or []}
        for kind, title in _GROUPS:
            group = [
                Row(
                    entry.name,
                    _cells(
                        entry,
                        _name(entry, self.models),
                        runs.get(entry.run) if entry.run else None,
                        message.preparing,
                    ),
                )
                for entry in self.models
                if entry.kind == kind
            ]
            rows += self._group(title, group) if group else []
        rows += (
            self._group(
                "On their way",
                [Row(arriving.id, _arriving_cells(arriving)) for arriving in self.arriving],
            )
            if self.arriving
            else []
        )
        table = self.query_one("#models", RowTable)
        table.show(rows)
        if table.options.highlighted is None:
            table.options.highlighted = next(
                (index for index, row in enumerate(rows) if not row.heading), None
            )
        self._show_detail()
        self.refresh_hints()

    def _group(self, title: str, rows: Sequence[Row]) -> list[Row]:
        """The rows under their heading, with air above it where there is room."""
        heading = Content.styled(title, "$foreground-muted")
        above = "" if self.has_class("-stacked") else "\n"
        return [Row(f"heading {title}", [Content.assemble(above, heading)], heading=True), *rows]

    def on_resize(self, event: Resize) -> None:
        was_stacked = self.has_class("-stacked")
        self.set_class(event.size.width < _SIDE_BY_SIDE, "-stacked")
        if self.has_class("-stacked") is not was_stacked:
            self.call_after_refresh(self._rows_changed, self.app.rows)
        self.call_after_refresh(self._show_detail)

    def _show_detail(self) -> None:
        detail = self.query_one(ModelDetail)
        width = detail.text_width
        entry, arriving = self.chosen, self.chosen_arriving
        if entry is not None:
            row = self._row_of(entry)
            detail.show(
                model_text(
                    entry,
                    self._uses.get(entry.name, []),
                    row.loss if row is not None else None,
                    width,
                )
            )
        elif arriving is not None:
            far = number_format.size(arriving.done) if arriving.done or arriving.total else ""
            if arriving.total:
                far += f" of {number_format.size(arriving.total)}"
            then = (
                "{models.stop} stops it"
                if arriving.job is not None
                else "{models.import} continues it, {models.remove} deletes what is there"
            )
            pairs = [
                ("from", arriving.source),
                ("now", arriving.phase),
                ("here", far),
                ("", key_bindings.with_keys(then).plain),
            ]
            detail.show(
                pairs_text(arriving.name, "on its way", [pair for pair in pairs if pair[1]], width)
            )
        else:
            detail.show(Content(""))

    def _row_of(self, entry: Entry) -> JobRow | None:
        """The run that made a tuned model."""
        return (
            next((row for row in self.app.rows or [] if row.id == entry.run), None)
            if entry.kind == "tuned"
            else None
        )

    @property
    def chosen(self) -> Entry | None:
        """The model under the cursor."""
        highlighted = self.query_one("#models", RowTable).highlighted_id
        return next((entry for entry in self.models if entry.name == highlighted), None)

    @property
    def chosen_arriving(self) -> Arriving | None:
        highlighted = self.query_one("#models", RowTable).highlighted_id
        return next((arriving for arriving in self.arriving if arriving.id == highlighted), None)

    @on(OptionList.OptionHighlighted)
    def highlight_moved(self) -> None:
        self._show_detail()
        self.refresh_hints()

    @on(OptionList.OptionSelected)
    async def row_clicked(self) -> None:
        await self.action_serve()

    # What can be done

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        entry = self.chosen
        ready = entry is not None and entry.ready
        of_run = entry is not None and entry.kind == "tuned" and bool(entry.run)
        possible = {
            "prepare": any(model.name == "builtin" and not model.ready for model in self.models),
            "serve": ready and (of_run or (entry is not None and entry.kind != "tuned")),
            "new": ready,
            "certificate": entry is not None and bool(entry.run),
            "certify_export": self._run_row is not None,
            "merge": ready and entry is not None and entry.kind == "tuned",
            "export": ready,
            "push": ready,
            "remove": (
                entry is not None
                and (ready or bool(entry.damage))
                and not of_run
                and entry.kind != "full"
            )
            or (self.chosen_arriving is not None and self.chosen_arriving.left is not None),
            "stop": self.chosen_arriving is not None and self.chosen_arriving.job is not None,
            "copy": entry is not None,
        }
        return possible.get(action, True)

    def action_prepare(self) -> None:
        def prepare() -> None:
            from models.registry import prepare_builtin

            prepare_builtin()
            self.app.call_from_thread(self.app.read_jobs)

        self.notify("The built-in model is being prepared. Runs shows how far it is.")
        self.in_background(prepare)

    async def action_serve(self) -> None:
        entry = self.chosen
        if entry is None or not self.check_action("serve", ()):
            return
        if entry.kind == "tuned":
            await self.app.journey.offer_server(run_id=entry.run)
        else:
            await self.app.journey.offer_server(base=entry.name)

    async def action_new(self) -> None:
        entry = self.chosen
        base = "builtin"
        if entry is not None:
            base = entry.base if entry.kind == "tuned" else entry.name
        await self.app.journey.plan_run(model=base)

    def action_import(self) -> None:
        from tui.models.forms import ImportModal

        arriving = self.chosen_arriving
        form = (
            ImportModal(arriving.source, arriving.name)
            if arriving is not None and arriving.left is not None
            else ImportModal()
        )
        self.app.push_screen(
            form, self._told("It is being imported: the list shows how far it is.")
        )

    def action_merge(self) -> None:
        from tui.models.merge_form import MergeModal

        if (entry := self.chosen) is not None:
            self.app.push_screen(
                MergeModal(entry),
                self._told(f"{entry.title} is being merged: the list shows how far it is."),
            )

    def action_stop(self) -> None:
        arriving = self.chosen_arriving
        if arriving is not None and arriving.job is not None:
            confirm_stop(self, arriving.job.job)

    def action_export(self) -> None:
        from tui.models.forms import ExportModal

        if (entry := self.chosen) is not None:
            self.app.push_screen(
                ExportModal(entry.name, entry.title),
                self._told(f"{entry.title} is being exported."),
            )

    def action_push(self) -> None:
        if (entry := self.chosen) is None:
            return
        pushed = self._told(f"{entry.title} is being pushed. Runs shows how far it is.")

        def read() -> ModelForm:
            from models.export import leaks
            from tui.models.forms import PushModal

            leak = leaks.warning(jobs_directory() / entry.run) if entry.run else ""
            return PushModal(entry.name, entry.title, warning(entry.title, entry.standing), leak)

        self.in_thread(read, lambda form: self.app.push_screen(form, pushed))

    def _told(self, words: str) -> Callable[[str | None], None]:
        def push_started(job_id: str | None) -> None:
            if job_id is not None:
                if job_id:
                    self.notify(words)
                self.app.read_jobs()

        return push_started

    def action_remove(self) -> None:
        from tui.shared.confirm_modal import ConfirmModal

        entry, arriving = self.chosen, self.chosen_arriving
        if arriving is not None and arriving.left is not None:
            left = arriving.left
            question = ConfirmModal(
                f"Delete what is there of {arriving.name}?",
                number_format.size(left.bytes),
                yes="delete",
                no="keep",
            )
            self.app.push_screen(question, lambda yes: self._remove(left) if yes else None)
        elif entry is not None:
            title = f"Forget {entry.title}?" if entry.link else f"Delete {entry.title}?"
            stays = (
                "Its folder stays."
                if entry.link
                else f"{number_format.size(entry.bytes)}. It cannot be brought back."
            )
            needed = [f"{use} needs it." for use in self._uses.get(entry.name, [])]
            question = ConfirmModal(
                title,
                "\n".join([str(entry.path), stays, *needed]),
                yes="forget" if entry.link else "delete",
                no="keep",
            )
            self.app.push_screen(question, lambda yes: self._remove(entry) if yes else None)

    def _remove(self, model: Entry | Unfinished) -> None:
        def remove() -> None:
            from models import catalogue
            from models.imports.launch import Unfinished, discard

            discard(model) if isinstance(model, Unfinished) else catalogue.remove(model)
            self.app.call_from_thread(self.app.read_jobs)

        self.in_background(remove)

    @property
    def _run_row(self) -> JobRow | None:
        """The run that the model under the cursor is from."""
        entry = self.chosen
        run_id = entry.run if entry is not None else ""
        return next((row for row in self.app.rows or [] if row.id == run_id), None)

    def action_certificate(self) -> None:
        if self._run_row is not None:
            show_certificate(self, self._run_row.job)

    def action_certify_export(self) -> None:
        if self._run_row is not None:
            certify_export(self, self._run_row.job)

    def action_copy(self) -> None:
        if (entry := self.chosen) is not None:
            self.app.copy_to_clipboard(str(entry.path))
            self.notify(f"Copied {entry.path}")


def _read(rows: list[JobRow]) -> ModelsRead:
    from models.catalogue import list_entries, uses
    from models.imports.launch import order_of, unfinished

    jobs = [row.job for row in rows]
    entries = list_entries(jobs)
    living = {row.id for row in rows if row.alive}
    running = [row for row in rows if row.kind == "import" and row.alive]
    arriving = [
        Arriving(row.name, order_of(row.job).source, *_far(row), job=row) for row in running
    ]
    arriving += [_merging(row) for row in rows if row.kind == "merge" and row.alive]
    arriving += [
        Arriving(left.name, left.source, "broken off", left.bytes, 0, left=left)
        for left in unfinished()
    ]
    preparing = any(row.kind == "prepare" and row.alive for row in rows)
    needed_by = {
        entry.name: uses(entry, jobs, entries, lambda job: job.id in living) for entry in entries
    }
    return ModelsRead(entries, needed_by, arriving, preparing)


def _name(entry: Entry, models: Sequence[Entry]) -> str:
    """The model's title; of two with one title each has its run's id, as commands take it."""
    twins = [model for model in models if (model.title, model.kind) == (entry.title, entry.kind)]
    return (
        Job(jobs_directory() / entry.run).short_id if len(twins) > 1 and entry.run else entry.title
    )


def _merging(row: JobRow) -> Arriving:
    from models.merge import launch as merges
    from models.registry import display_name

    order = merges.order_of(row.job)
    adapter = row.name.removeprefix("merge-") if order.run else Path(order.adapter).name
    source = f"{display_name(Path(order.base))} + {adapter}"
    return Arriving(row.name, source, *_far(row), job=row)


def _far(row: JobRow) -> tuple[str, int, int]:
    """What a job does, and the bytes that it has done, of how many."""
    match newest(row.job.events(), Phase):
        case None:
            return "starting", 0, 0
        case Phase(name=name, unit="bytes", done=float(done), total=float(total)):
            return name, int(done), int(total)
        case Phase(name=name):
            return name, 0, 0


def _cells(entry: Entry, name: str, run: JobRow | None, preparing: bool) -> list[Content]:
    signs = glyphs()
    state = badge(entry.standing)
    if not entry.ready and preparing and entry.name == "builtin":
        state = Content.assemble((signs.starting, "$warning"), " preparing")
    elif not entry.ready and entry.damage:
        state = Content.assemble((signs.failed, "$error"), " damaged")
    elif not entry.ready:
        state = Content.assemble((signs.queued, "$foreground-muted"), " not prepared")
    return [
        Content(f"  {name}"),
        Content.styled(entry.base, "$foreground-muted"),
        Content(f"rank {entry.rank}" if entry.rank else number_format.count(entry.parameters)),
        Content(number_format.size(entry.bytes) if entry.bytes else ""),
        Content(f"{entry.context_length:,}" if entry.context_length else ""),
        Content(number_format.loss(run.eval_loss) if run is not None else ""),
        _muted("" if run is None else number_format.steady_age(run.created)),
        _muted("" if run is None else number_format.minute(run.created)),
        state,
    ]


def _muted(text: str) -> Content:
    return Content.styled(text, "$foreground-muted")


def _arriving_cells(arriving: Arriving) -> list[Content]:
    signs = glyphs()
    share = f"{arriving.done / arriving.total:.0%}" if arriving.total else ""
    if arriving.job is not None:
        state = Content.assemble((signs.starting, "$warning"), f" {share or arriving.phase}")
    else:
        state = Content.assemble((signs.stopped, "$foreground-muted"), " broken off")
    return [
        Content(f"  {arriving.name}"),
        Content.styled(arriving.source, "$foreground-muted"),
        Content(""),
        Content(number_format.size(arriving.done) if arriving.done else ""),
        *[Content("")] * 4,
        state,
    ]
