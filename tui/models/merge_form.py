"""The form that merges an adapter into its base model: what will be written, where, and the room
that it takes, before it is."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from textual import on
from textual.app import ComposeResult
from textual.containers import Horizontal
from textual.content import Content
from textual.message import Message
from textual.widgets import Input, Label, Select, Static

from jobs.job import Job
from jobs.luthier_error import LuthierError
from tui.models import facts
from tui.models.forms import ModelForm
from tui.shared.form import Field
from workshop import number_format

if TYPE_CHECKING:
    from models.catalogue import Entry
    from models.merge.launch import MergeSettings, Outlook
    from models.runs import Run

_WAYS = [
    ("the 16-bit base", "base"),
    ("the 4-bit values it was trained beside", "dequantised"),
    ("whichever is measured closer", "closer"),
]


@dataclass(frozen=True)
class _Chosen:
    """What the form says."""

    name: str
    dtype: str
    into: str
    replace: bool


@dataclass
class MergeLookedAt(Message):
    choices: _Chosen
    settings: MergeSettings
    outlook: Outlook
    certified: bool


class MergeModal(ModelForm):
    heading: ClassVar[str] = "Merge an adapter into its base"

    def __init__(self, entry: Entry) -> None:
        super().__init__()
        self.entry = entry

    def compose_fields(self) -> ComposeResult:
        from models.folder import ModelFolder
        from models.merge.plan import DTYPES

        entry = self.entry
        models = Content.assemble((entry.title, "bold"), f" into {entry.base}")
        yield Label(models, classes="form-text")
        if entry.run:
            yield Field("name", "name", placeholder="none: it stays in the folder of its run")
        else:
            yield Field("name", "name", value=f"{entry.title}-merged")
        yield self._choice(
            "dtype",
            "weights in",
            [("the base's type", ""), *((dtype, dtype) for dtype in DTYPES)],
            "",
        )
        if ModelFolder(entry.path).shown_card.base_bits == 4:
            yield self._choice("into", "merged into", _WAYS, "base")
        yield self._choice(
            "replace",
            "if it exists",
            [("keep it, and stop", False), ("replace it once the new one is complete", True)],
            False,
        )
        yield Static(id="merge-outlook", classes="hint")

    def _choice(
        self, key: str, title: str, options: list[tuple[str, Any]], value: object
    ) -> Horizontal:
        select = Select(options, value=value, allow_blank=False, compact=True, id=f"merge-{key}")
        return Horizontal(Label(Content(title)), select, classes="field")

    def _chosen(self) -> _Chosen:
        values = {select.id: select.value for select in self.query(Select)}
        return _Chosen(
            self.field("name").value,
            str(values["merge-dtype"]),
            str(values.get("merge-into", "base")),
            values["merge-replace"] is True,
        )

    def _orders(self, choices: _Chosen) -> tuple[MergeSettings, Run | None]:
        """The merge that the form describes, and the run that it is of. LuthierError for what it
        cannot be."""
        from jobs.home import models_directory
        from models.merge.launch import MergeSettings, merge_settings
        from models.registry import valid_name
        from models.runs import Run

        entry = self.entry
        if entry.base_path is None:
            hint = "Import it first: i on the Models screen."
            raise LuthierError(
                "The base model is not here", f"{entry.title} was trained on {entry.base}.", hint
            )
        settings: dict[str, Any] = {
            "dtype": choices.dtype or None,
            "into": choices.into,
            "replace": choices.replace,
        }
        if choices.name or not entry.run:
            settings["out"] = str(models_directory() / valid_name(choices.name))
        run = Run.named(entry.run) if entry.run else None
        if run is not None:
            settings_of_merge = merge_settings(run, **settings)
        else:
            settings_of_merge = MergeSettings(
                base=str(entry.base_path), adapter=str(entry.path), **settings
            )
        if Path(settings_of_merge.out).exists() and not settings_of_merge.replace:
            raise LuthierError(
                "Something is already there",
                f"{settings_of_merge.out} exists.",
                "Give another name, or have it replaced.",
            )
        return settings_of_merge, run

    # What it will write

    @on(Select.Changed)
    @on(Input.Changed)
    def changed(self) -> None:
        self.clear_errors()
        self.query_one("#merge-outlook", Static).update("")
        choices = self._chosen()

        def look() -> None:
            from models.merge.launch import check_merge

            settings, run = self._orders(choices)
            outlook = check_merge(settings)
            self.post_message(
                MergeLookedAt(choices, settings, outlook, run is not None and run.is_certified)
            )

        self.run_worker(look, thread=True, exclusive=True, group="look", exit_on_error=False)

    def on_mount(self) -> None:
        self.changed()

    def on_merge_looked_at(self, message: MergeLookedAt) -> None:
        if message.choices != self._chosen():
            return
        outlook = message.outlook
        both = (
            f" While both are measured they take {number_format.size(outlook.at_once)}."
            if outlook.at_once > outlook.model
            else ""
        )
        then = " Then the run is certified again." if message.certified else ""
        target = facts.homely(Path(message.settings.out))
        note = f" {outlook.note}" if outlook.note else ""
        text = (
            f"Writes {number_format.size(outlook.model)} to {target};"
            f" {number_format.size(outlook.free)} are free.{both}{then}{note}"
        )
        self.query_one("#merge-outlook", Static).update(Content(text))

    def submit(self) -> None:
        choices = self._chosen()

        def start() -> Job:
            from models.merge.launch import start_merge

            return start_merge(*self._orders(choices))

        self.begin(start, "Reading the headers.")
