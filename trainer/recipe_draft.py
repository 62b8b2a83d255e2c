"""A recipe that is being written: its text, which keeps comments and order, and one value of it at
a time. Light."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import msgspec
import tomlkit

from jobs.luthier_error import LuthierError
from models.builtin import BUILTIN
from trainer.data_recipe import name_of_data
from trainer.presets import Preset
from trainer.recipe import Recipe, parse_toml, read_text
from trainer.sweep import Sweep, recipes_of, runs_of

_FIRST = ("data", "model", "name")  # what stands at the top of a recipe


@dataclass(frozen=True)
class RecipeDraft:
    """`path` is the file that the text came from; None for one that is in no file."""

    text: str = ""
    path: Path | None = None

    @classmethod
    def of_file(cls, path: Path) -> RecipeDraft:
        """A recipe's file; its paths become absolute, so that the text can be saved anywhere.
        LuthierError if it is not a recipe."""
        draft = cls(read_text(path), path)
        first = recipes_of(draft.asked())[0]
        for key, value in (("data", _texts(first)), ("model", first.model)):
            if value and key in draft.values:
                draft = draft.with_value(key, value)
        return draft

    @classmethod
    def of_recipe(cls, recipe: Recipe) -> RecipeDraft:
        """What a recipe says that is not the default."""
        defaults = msgspec.to_builtins(Recipe(data=["data"]))
        draft = cls()
        for key, value in msgspec.to_builtins(recipe).items():
            if not isinstance(value, dict):
                draft = draft.with_value(key, value) if value != defaults[key] else draft
                continue
            for name, inner in value.items():
                if inner != defaults[key][name]:
                    draft = draft.with_value(f"{key}.{name}", inner)
        return draft

    @classmethod
    def of_preset(cls, preset: Preset) -> RecipeDraft:
        return cls(preset.text).with_value("data", None)

    @cached_property
    def values(self) -> Mapping[str, Any]:
        """What the text holds. LuthierError if it is no TOML."""
        return parse_toml(self.text, self.where)

    @property
    def where(self) -> str:
        """How errors name it."""
        return str(self.path) if self.path is not None else "the recipe"

    def value(self, key: str) -> Any:
        """Of a key such as "train.epochs"; None where the text has none."""
        value: Any = self.values
        for part in key.split("."):
            value = value.get(part) if isinstance(value, Mapping) else None
        return value

    def with_value(self, key: str, value: Any) -> RecipeDraft:
        """With another value of a key; None takes it away."""
        document = tomlkit.parse(self.text)
        section, _, name = key.rpartition(".")
        table: Any = document
        for part in filter(None, section.split(".")):
            if part not in table:
                if value is None:
                    return self
                table[part] = tomlkit.table()
            table = table[part]
        if value is None:
            table.pop(name, None)
            if section and not table:
                document.pop(section, None)
        elif section or name in table:
            table[name] = value
        else:
            return replace(self, text=tomlkit.dumps(_with_first(document, name, value)))
        return replace(self, text=tomlkit.dumps(document))

    def changed_keys(self) -> Iterator[tuple[str, Any]]:
        """What the text says besides model, data and name."""
        for key, value in self.values.items():
            if key in _FIRST:
                continue
            if isinstance(value, Mapping):
                yield from ((f"{key}.{name}", inner) for name, inner in value.items())
            else:
                yield key, value

    @property
    def sources(self) -> list[str]:
        """The paths of the data, as the text has them."""
        data = self.value("data") or []
        entries = data if isinstance(data, list) else [data]
        return [
            str(entry.get("path", "")) if isinstance(entry, Mapping) else str(entry)
            for entry in entries
        ]

    @property
    def model(self) -> str:
        return str(self.value("model") or BUILTIN)

    @property
    def default_name(self) -> str:
        """What the run is called where the text has no name."""
        if self.path is not None:
            return self.path.stem
        return name_of_data(Path(self.sources[0])) if self.sources else ""

    def asked(self) -> Recipe | Sweep:
        """What the text asks for. LuthierError at the first thing that is wrong."""
        path = self.path or Path.cwd() / f"{self.default_name or 'recipe'}.toml"
        return runs_of(self.text, path, self.where)


def _texts(recipe: Recipe) -> list[str] | None:
    """The data, if it is paths only."""
    texts = [entry for entry in recipe.data if isinstance(entry, str)]
    return texts if len(texts) == len(recipe.data) else None


def _with_first(document: tomlkit.TOMLDocument, name: str, value: Any) -> tomlkit.TOMLDocument:
    """A new key of the top level stands before the sections."""
    text = f"{name} = {tomlkit.item(value).as_string()}\n"
    head, sections = _split(tomlkit.dumps(document))
    try:
        return tomlkit.parse(f"{head}{text}{sections}")
    except tomlkit.exceptions.TOMLKitError as error:
        raise LuthierError("The recipe is not valid TOML", str(error), "Open it with ^e.") from None


def _split(text: str) -> tuple[str, str]:
    """Before and after where a key of the top level may be added: ahead of the first section and
    the comments right above it."""
    lines = text.splitlines(keepends=True)
    section = next(
        (index for index, line in enumerate(lines) if line.lstrip().startswith("[")), len(lines)
    )
    while section and section < len(lines) and lines[section - 1].lstrip().startswith("#"):
        section -= 1
    head = "".join(lines[:section])
    if head and not head.endswith("\n"):
        head += "\n"
    return head.rstrip("\n") + "\n" if head.strip() else "", _gap(lines[section:])


def _gap(lines: list[str]) -> str:
    return "\n" + "".join(lines) if lines else ""
