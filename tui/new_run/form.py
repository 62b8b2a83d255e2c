"""The left side of a new run: its few choices, what else the recipe says, and help at the field."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from textual.app import ComposeResult
from textual.containers import Vertical
from textual.content import Content
from textual.suggester import Suggester, SuggestFromList
from textual.widgets import Input, Static

from jobs.counting import counted
from jobs.files import expanded, quoted_name, why_missing, why_no_file
from jobs.luthier_error import LuthierError
from models.hub_names import HUB
from models.registry import list_models
from trainer.key_values import as_text
from trainer.presets import Preset, presets
from trainer.recipe_draft import RecipeDraft
from tui.key_bindings import key_of, with_keys
from tui.shared.form import Field
from tui.shared.path_suggester import PathSuggester

_SEPARATOR = ", "
_MOST_CHANGES = 8
HELP = {
    "data": "Conversations: JSON Lines, JSON, CSV, TSV, Parquet or Arrow, a folder of them, or"
    " hub:owner/name. → completes a path; {new_run.files} lists what is near here.",
    "model": "The base model: a name of Models ({app.models}), or a folder. builtin is a small one"
    " that needs no download.",
    "recipe": "A recipe's file, or a starting point by its name; empty for the defaults. What"
    " you choose in the other fields counts.",
    "name": "The name of the run and of the tuned model.",
}


class RecipeSuggester(Suggester):
    """A starting point by its name, else a path."""

    def __init__(self, names: list[str]) -> None:
        super().__init__(use_cache=False, case_sensitive=True)
        self._names = SuggestFromList(names, case_sensitive=True)
        self._paths = PathSuggester()

    async def get_suggestion(self, value: str) -> str | None:
        name = await self._names.get_suggestion(value)
        return name or await self._paths.get_suggestion(value)


class RunForm(Vertical):
    """Its fields show a draft (`show`), and what is typed there becomes part of one (`edited`)."""

    def __init__(self) -> None:
        super().__init__(id="run-form")
        self._presets: dict[str, Preset] = {preset.name: preset for preset in presets()}
        self._recipe_read = ""
        """What the recipe's field had when it was read."""
        self._refused_field = ""

    def compose(self) -> ComposeResult:
        yield Field("data", "data", placeholder="a file or a folder")
        yield Field("model", "model", value="builtin")
        yield Field("recipe", "recipe", placeholder="the defaults")
        yield Field("name", "name", placeholder="the data file's name")
        yield Static(id="run-changes")
        yield Static(id="run-help")
        yield Static(id="form-error")

    def on_mount(self) -> None:
        self.input("data").suggester = PathSuggester()
        self.input("model").suggester = SuggestFromList([model.name for model in list_models()])
        self.input("recipe").suggester = RecipeSuggester([*self._presets])

    def field(self, key: str) -> Field:
        return self.query_one(f"#field-{key}", Field)

    def input(self, key: str) -> Input:
        return self.field(key).query_one(Input)

    @property
    def wrong(self) -> list[str]:
        """The fields with errors."""
        return [key for key in HELP if self.field(key).has_class("-wrong")]

    def values(self) -> list[str]:
        return [self.field(key).value for key in HELP]

    def show(self, draft: RecipeDraft) -> None:
        """A draft that did not come from the fields: of the editor, or of a key."""
        texts = {
            "data": _text_of(draft.sources),
            "model": draft.model,
            "name": str(draft.value("name") or ""),
        }
        for key, text in texts.items():
            if self.field(key).value != text:
                self.input(key).value = text
        self.show_changes(draft)

    def show_changes(self, draft: RecipeDraft) -> None:
        """What else the recipe says, and the name that the run has without one."""
        self.input("name").placeholder = draft.default_name or "the data file's name"
        changes = [(key, value) for key, value in draft.changed_keys() if value != {}]
        changed = f", with {counted(len(changes), 'setting')} changed" if changes else ""
        self.input("recipe").placeholder = f"the defaults{changed}"
        muted = "$foreground-muted"
        lines = [
            Content.assemble((f"{key:<25} ", muted), _short(value))
            for key, value in changes[:_MOST_CHANGES]
        ]
        if len(changes) > _MOST_CHANGES:
            lines.append(Content.styled(f"and {len(changes) - _MOST_CHANGES} more", muted))
        if not lines:
            lines = [Content.styled("All other settings are the defaults.", muted)]
        self.query_one("#run-changes", Static).update(Content("\n").join(lines))

    def show_help(self, key: str) -> None:
        self.query_one("#run-help", Static).update(with_keys(HELP.get(key, "")))

    def show_problem(self, text: Content) -> None:
        self.query_one("#form-error", Static).update(text)

    def refuse(self, error: LuthierError, field: str = "", *, has_proposals: bool = False) -> None:
        """Say why the draft cannot be planned: beside the field that is to blame, if one is.
        Proposals stand elsewhere, and in the place of the hint."""
        self._refused_field = field
        keys, editor = key_of("new_run.keys"), key_of("new_run.edit")
        how = f"\n{keys} and {editor} change the recipe." if "recipe" in error.hint else ""
        hint = Content.styled("" if has_proposals else f"{error.hint}{how}", "$foreground-muted")
        if field:
            self.field(field).show_error(f"{error.title}. {error.message}")
            self.show_problem(hint)
            return
        title = (f"{error.title}. ", "bold $error")
        self.show_problem(Content.assemble(title, error.message, "\n", hint))

    def forget_refusal(self) -> None:
        """Whether the draft can be planned is open again."""
        if self._refused_field:
            self.field(self._refused_field).show_error("")
            self._refused_field = ""

    def edited(self, draft: RecipeDraft) -> RecipeDraft:
        """The draft with what the fields say now; errors stand beside them. LuthierError where the
        recipe that is named cannot be read."""
        for key in HELP:
            self.field(key).show_error("")
        self._refused_field = ""
        draft = self._with_recipe(draft)
        data, model, name = (self.field(key).value for key in ("data", "model", "name"))
        if data != _text_of(draft.sources):
            draft = draft.with_value("data", _sources(data) if data else None)
        if model != draft.model:
            draft = draft.with_value("model", model or None)
        if name != str(draft.value("name") or ""):
            draft = draft.with_value("name", name or None)
        self._check(draft, model)
        return draft

    def _with_recipe(self, draft: RecipeDraft) -> RecipeDraft:
        """The draft of another recipe, if another one is named; what was chosen before stays."""
        text = self.field("recipe").value
        if text == self._recipe_read:
            return draft
        path = expanded(text)
        if text and text not in self._presets and (reason := why_no_file(path)):
            self.field("recipe").show_error(f"{reason}, and no starting point")
            return draft
        self._recipe_read = text
        data = self.field("data").value
        if not text:
            return RecipeDraft().with_value("data", _sources(data) if data else None)
        if text in self._presets:
            new = RecipeDraft.of_preset(self._presets[text])
            if self.field("model").value in ("", "builtin"):
                self.input("model").value = new.model
            return new
        new = RecipeDraft.of_file(path)
        for key, value in (("data", _text_of(new.sources)), ("model", new.model)):
            if value:
                self.input(key).value = value
        self.input("name").value = str(new.value("name") or "")
        return new

    def _check(self, draft: RecipeDraft, model: str) -> None:
        if not draft.sources:
            return
        for source in draft.sources:
            where = draft.path.parent if draft.path is not None else Path.cwd()
            if not source.startswith(HUB) and (reason := why_missing(where / expanded(source))):
                self.field("data").show_error(f"{reason}: {quoted_name(source)}")
        if not model:
            self.field("model").show_error("a name or a folder is needed")


def shown_source(source: str) -> str:
    """As it fits into the field: from the current folder on, if it is in there."""
    path, folder = expanded(source), Path.cwd()
    return str(path.relative_to(folder)) if path.is_relative_to(folder) else source


def _text_of(sources: Sequence[str]) -> str:
    return _SEPARATOR.join(map(shown_source, sources))


def _sources(text: str) -> list[str]:
    """The paths in the field, absolute: a path with the separator in it is one path."""
    is_one = not why_missing(expanded(text))
    parts = [text] if is_one else [part.strip() for part in text.split(",")]
    return [
        part if part.startswith(HUB) else str(expanded(part).absolute()) for part in parts if part
    ]


def _short(value: object) -> Content:
    return Content(as_text(value).replace("\n", " ")).truncate(60, ellipsis=True)
