"""The two forms of Data: what to look at, and how it is to be read when the guess is wrong."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, get_args

from textual.app import ComposeResult
from textual.content import Content
from textual.suggester import SuggestFromList
from textual.widgets import Input

from jobs.files import expanded, why_missing
from tui.shared.form import Field, FormModal, JobStarted
from tui.shared.key_line import KeyHint
from tui.shared.path_suggester import PathSuggester

if TYPE_CHECKING:
    from trainer.data.formats import Mapping
    from trainer.recipe import Recipe


class LookModal(FormModal):
    """Which data, seen by which model."""

    heading: ClassVar[str] = "Look at data"
    hints: ClassVar[list[KeyHint]] = [
        KeyHint("right", "→", "complete"),
        KeyHint("tab", "tab", "next field"),
        KeyHint("enter", "enter", "look"),
    ]

    def __init__(self, source: str = "", model: str = "builtin") -> None:
        super().__init__()
        self._source, self._model = source, model

    def compose_fields(self) -> ComposeResult:
        yield Field(
            "source",
            "data",
            value=self._source,
            placeholder="a file, a folder, a recipe.toml, or hub:owner/name",
        )
        yield Field("model", "model", value=self._model)
        yield Field("context", "context", placeholder="2048, or what the recipe says")

    def on_mount(self) -> None:
        self.field("source").query_one(Input).suggester = PathSuggester()

    def submit(self) -> None:
        source = self.field("source").value
        if not source:
            self.field("source").show_error("needed: a file or a folder of conversations")
        elif not source.startswith("hub:") and (reason := why_missing(expanded(source))):
            self.field("source").show_error(reason)
        if not self.field("model").value:
            self.field("model").show_error("needed: a name or a folder")
        context = (
            self.number_in("context", least=8, integer=True) if self.field("context").value else 0
        )
        if not self.query(".field.-wrong") and context is not None:
            self._start(source, self.field("model").value, int(context))

    def _start(self, source: str, model: str, context: int) -> None:
        def begin() -> None:
            from trainer.data.inspection import start

            self.post_message(JobStarted(start(recipe_for(source, model, context)).id))

        self.show_problem(Content.styled("Starting to look.", "$foreground-muted"))
        self.run_worker(begin, thread=True, exclusive=True, group="start", exit_on_error=False)


def recipe_for(source: str, model: str, context: int = 0) -> Recipe:
    """The recipe in a file, with this model, or one of defaults around a data source. `context` 0
    leaves it as it is."""
    import msgspec

    from trainer.recipe import Recipe, load

    where = source if source.startswith("hub:") else str(expanded(source).absolute())
    recipe = load(Path(where)) if where.endswith(".toml") else Recipe(data=[where])
    train = msgspec.structs.replace(recipe.train, max_length=context or recipe.train.max_length)
    return msgspec.structs.replace(recipe, model=model or recipe.model, train=train)


class FormatModal(FormModal):
    """How the rows are to be read. Begins with what was recognised; an empty field is found out
    again."""

    heading: ClassVar[str] = "How to read the rows"
    hints: ClassVar[list[KeyHint]] = [
        KeyHint("right", "→", "complete"),
        KeyHint("tab", "tab", "next field"),
        KeyHint("enter", "enter", "look again"),
    ]

    def __init__(self, recipe: Recipe, mapping: dict[str, object]) -> None:
        super().__init__()
        self._recipe, self._found = recipe, mapping

    def compose_fields(self) -> ComposeResult:
        yield Field(
            "format", "format", value=str(self._found.get("format", "")), placeholder="auto"
        )
        yield Field(
            "columns",
            "columns",
            value=_pairs_text(self._found.get("columns")),
            placeholder="turns=log, role=who, content=says",
        )
        yield Field(
            "roles",
            "roles",
            value=_pairs_text(self._found.get("roles")),
            placeholder="kirk=user, spock=assistant",
        )
        yield Field(
            "speakers",
            "speakers",
            value=_pairs_text(self._found.get("speakers")),
            placeholder="Captain=assistant, others=user",
        )

    def on_mount(self) -> None:
        from trainer.data.formats import FormatName

        self.field("format").query_one(Input).suggester = SuggestFromList(get_args(FormatName))

    def submit(self) -> None:
        from trainer.data.formats import FormatName, Role

        name = self.field("format").value or "auto"
        if name not in get_args(FormatName):
            self.field("format").show_error(f"one of {', '.join(get_args(FormatName))}")
        values: dict[str, object] = {"format": name, "columns": self._pairs("columns")}
        values |= {key: self._pairs(key, get_args(Role)) for key in ("roles", "speakers")}
        if not self.query(".field.-wrong"):
            self._start(values)

    def _pairs(self, key: str, allowed: tuple[str, ...] = ()) -> dict[str, str]:
        """A field's "name=value, name=value"."""
        pairs = {}
        for part in filter(None, (part.strip() for part in self.field(key).value.split(","))):
            name, equals, value = (piece.strip() for piece in part.partition("="))
            if not (name and equals and value):
                self.field(key).show_error(f"{part!r} is not name=value")
            elif allowed and value not in allowed:
                self.field(key).show_error(f"{value!r} is not one of: {', '.join(allowed)}")
            pairs[name] = value
        return pairs

    def _start(self, values: dict[str, object]) -> None:
        def begin() -> None:
            import msgspec

            from trainer.data.formats import Mapping
            from trainer.data.inspection import start

            mapping: Mapping = msgspec.convert(
                {**msgspec.to_builtins(self._recipe.format), **values}, Mapping
            )
            self.post_message(
                JobStarted(start(msgspec.structs.replace(self._recipe, format=mapping)).id)
            )

        self.show_problem(Content.styled("Starting to look.", "$foreground-muted"))
        self.run_worker(begin, thread=True, exclusive=True, group="start", exit_on_error=False)


def _pairs_text(value: object) -> str:
    return (
        ", ".join(f"{name}={text}" for name, text in value.items())
        if isinstance(value, dict)
        else ""
    )
