"""Base models, and the adapters that runs have left."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from textual import on
from textual.binding import BindingType
from textual.content import Content
from textual.message import Message
from textual.widget import Widget
from textual.widgets import OptionList, Static

from jobs.errors import LuthierError
from models import certificate
from models.certificate import Standing
from tui import actions, figures
from tui.actions import Place
from tui.certificate_badge import badge
from tui.glyphs import glyphs
from tui.joblist import JobRow, tuned
from tui.screens.base import LuthierScreen
from tui.widgets.row_table import Column, Row, RowTable

if TYPE_CHECKING:
    from models.adapters import Adapter
    from models.registry import Model

MODEL_COLUMNS = [
    Column("base model", weight=2),
    Column("state", 14),
    Column("parameters", 10, right=True),
    Column("size", 8, right=True),
    Column("context", 7, right=True),
    Column("architecture", 20, wide=True),
    Column("", weight=2, wide=True),
]
TUNED_COLUMNS = [
    Column("tuned model", weight=2),
    Column("base", 14),
    Column("rank", 7, right=True),
    Column("loss", 8, right=True),
    Column("age", 7, right=True),
    Column("certificate", 12),
    Column("run", 36, wide=True),
]


@dataclass(frozen=True)
class Tuned:
    row: JobRow
    adapter: Adapter
    standing: Standing


@dataclass
class ModelsRead(Message):
    models: list[Model]
    tuned: list[Tuned]


class ModelsScreen(LuthierScreen):
    place: ClassVar[Place] = "models"
    CSS_PATH = "models.tcss"
    BINDINGS: ClassVar[list[BindingType]] = actions.bindings("models")
    AUTO_FOCUS = "#models OptionList"

    def __init__(self) -> None:
        super().__init__()
        self.models: list[Model] = []
        self.tuned: list[Tuned] = []

    def compose_body(self) -> Iterable[Widget]:
        yield RowTable(MODEL_COLUMNS, "models")
        yield RowTable(TUNED_COLUMNS, "tuned")
        yield Static("No run has left an adapter yet.\n\n[$primary]n[/] starts a run with the model above", id="no-tuned", classes="empty")

    def jobs_changed(self, rows: list[JobRow]) -> None:
        self.in_background(lambda: _read(rows), group="models", exclusive=True)

    def on_models_read(self, message: ModelsRead) -> None:
        self.models, self.tuned = message.models, message.tuned
        preparing = any(row.kind == "import" and row.name == "builtin" and row.alive for row in self.app.rows or [])
        self.query_one("#models", RowTable).show([Row(model.name, _model_cells(model, preparing)) for model in self.models])
        self.query_one("#tuned", RowTable).show([Row(entry.row.id, _tuned_cells(entry)) for entry in self.tuned])
        self.query_one("#tuned").display = bool(self.tuned)
        self.query_one("#no-tuned").display = not self.tuned
        self.refresh_hints()

    @property
    def chosen_tuned(self) -> Tuned | None:
        """The highlighted adapter, when the cursor is in the lower list."""
        table = self.query_one("#tuned", RowTable)
        if not table.options.has_focus:
            return None
        return next((entry for entry in self.tuned if entry.row.id == table.highlighted_id), None)

    @property
    def chosen_model(self) -> Model | None:
        if self.chosen_tuned is not None:
            return None
        chosen = self.query_one("#models", RowTable).highlighted_id
        return next((model for model in self.models if model.name == chosen), None)

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if action not in ("prepare", "serve", "new", "copy", "certificate"):
            return True
        if action == "certificate":
            return self.chosen_tuned is not None
        model = self.chosen_model
        if action == "prepare":
            return any(model.name == "builtin" and not model.ready for model in self.models)
        if action == "copy":
            return model is not None or self.chosen_tuned is not None
        return self.chosen_tuned is not None or (model is not None and model.ready)

    @on(OptionList.OptionHighlighted)
    def highlight_moved(self) -> None:
        self.refresh_hints()

    def on_descendant_focus(self) -> None:
        self.refresh_hints()

    @on(OptionList.OptionSelected)
    async def row_clicked(self) -> None:
        await self.action_serve()

    def action_prepare(self) -> None:
        def prepare() -> None:
            from models.registry import prepare_builtin

            prepare_builtin()
            self.app.call_from_thread(self.app.read_jobs)

        self.notify("The built-in model is being prepared. Runs shows how far it is.")
        self.in_background(prepare)

    async def action_serve(self) -> None:
        if self.chosen_tuned is not None:
            await self.app.offer_server(run_id=self.chosen_tuned.row.id)
        elif self.chosen_model is not None and self.chosen_model.ready:
            await self.app.offer_server(base=self.chosen_model.name)

    def action_new(self) -> None:
        from tui.widgets.new_run import NewRunModal

        entry, model = self.chosen_tuned, self.chosen_model
        base = entry.row.model if entry is not None else model.name if model is not None else "builtin"
        self.app.push_screen(NewRunModal(base), self.app.open_started)

    def action_certificate(self) -> None:
        entry = self.chosen_tuned
        if entry is None:
            return
        own = str(entry.row.job.directory)
        rows = self.app.rows or []
        being_made = any(row.kind == "certify" and row.alive and row.job.spec.settings.get("run") == own for row in rows)

        def certify() -> None:
            from serve.certificate.launch import certify

            certify(entry.row.job)
            self.app.call_from_thread(self.app.read_jobs)

        def chosen(again: bool | None) -> None:
            if again:
                self.notify(f"{entry.row.name} is being certified. Runs shows how far it is.")
                self.in_background(certify)

        def show() -> None:
            from tui.widgets.certificate_modal import CertificateModal

            try:
                made = certificate.read(entry.row.job.directory)
            except LuthierError:
                made = None
            modal = CertificateModal(entry.row.name, made, entry.standing, being_made=being_made)
            self.app.call_from_thread(self.app.push_screen, modal, chosen)

        self.in_background(show)

    def action_copy(self) -> None:
        entry, model = self.chosen_tuned, self.chosen_model
        path = entry.adapter.directory if entry is not None else model.path if model is not None else None
        if path is not None:
            self.app.copy_to_clipboard(str(path))
            self.notify(f"Copied {path}")


def _read(rows: list[JobRow]) -> ModelsRead:
    from models.adapters import read_adapter
    from models.registry import list_models

    entries = []
    for row in tuned(rows):
        try:
            adapter = read_adapter(row.job.directory / "adapter")
            entries.append(Tuned(row, adapter, certificate.standing(row.job.directory)))
        except LuthierError:  # being written or damaged: serving it says so, the list leaves it out
            continue
    return ModelsRead(list_models(), entries)


def _model_cells(model: Model, preparing: bool) -> list[Content]:
    signs = glyphs()
    if model.ready:
        state = Content.assemble((signs.done, "$success"), " ready")
    elif preparing and model.name == "builtin":
        state = Content.assemble((signs.starting, "$warning"), " preparing")
    else:
        state = Content.assemble((signs.queued, "$foreground-muted"), " not prepared")
    return [
        Content(model.name),
        state,
        Content(figures.count(model.parameters)),
        Content(figures.size(model.bytes) if model.bytes else ""),
        Content(f"{model.context_length}" if model.context_length else ""),
        Content.styled(model.architecture, "$foreground-muted"),
        Content.styled(model.note, "$foreground-muted"),
    ]


def _tuned_cells(entry: Tuned) -> list[Content]:
    return [
        Content(entry.row.name),
        Content(entry.row.model or entry.adapter.base),
        Content(f"r {entry.adapter.rank}"),
        Content(figures.loss(entry.row.loss)),
        Content.styled(figures.short_duration(figures.now() - entry.row.since), "$foreground-muted"),
        badge(entry.standing),
        Content.styled(entry.row.id, "$foreground-muted"),
    ]
