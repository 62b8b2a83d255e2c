"""What a recipe says that means nothing, and what was meant: a key of another place, of another
tool, or a misspelt one. Light."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from jobs import foreign_json
from jobs.luthier_error import LuthierError
from jobs.near import near
from models.hub_names import HUB
from trainer import other_tools
from trainer.data_endings import DATA_ENDINGS
from trainer.other_tools import SETTINGS, SHARED, Untranslatable

Keys = dict[str, list[str]]
"""A recipe's keys by section; "" is the top level, "data" the tables of [[data]]."""
# Below it, what is near is no longer what was meant: "save_steps" is no misspelt "base_bits".
_CUTOFF = 0.75
_LEAST_TRANSLATED = 2  # settings by which a file is taken for another tool's


class Unknown(NamedTuple):
    section: str
    name: str
    value: Any
    beside: dict[str, Any]

    @property
    def key(self) -> str:
        return f"{self.section}.{self.name}" if self.section else self.name


def check_keys(
    values: dict[str, Any], recipe_keys: Keys, short_names: dict[str, str], where: str
) -> None:
    """LuthierError names all that mean nothing, each with what was meant. `short_names`: keys by
    what the runs of a sweep call them."""
    unknown = [*_unknown(values, recipe_keys)]
    if not unknown:
        return
    if len(unknown) == 1:
        only = unknown[0]
        raise LuthierError(
            "Unknown key in the recipe",
            f"{where}: unknown key {only.key}.",
            _meant(only, recipe_keys, short_names),
        )
    hints = "\n".join(_meant(each, recipe_keys, short_names, names_key=True) for each in unknown)
    message = f"{where}: {len(unknown)} unknown keys: {', '.join(each.key for each in unknown)}."
    paste = _recipe_of(unknown, recipe_keys)
    raise LuthierError(
        "Unknown keys in the recipe",
        message,
        f"{hints}\n\nIn a recipe:\n{paste}" if paste else hints,
    )


def check_kind(path: Path) -> None:
    """LuthierError for what is no recipe by its name: data, a script."""
    ending, source = path.suffix.lower(), str(path)
    if ending in DATA_ENDINGS or source.startswith(HUB):
        hint = (
            "A recipe names its data. Write these two lines into"
            f" {path.stem.partition('.')[0]}.toml beside it and use that file:\n"
        )
        entry = source if source.startswith(HUB) else path.name
        raise LuthierError(
            "Data, not a recipe",
            f"{source} holds data.",
            f'{hint}model = "builtin"\ndata = ["{entry}"]',
        )
    if ending in (".py", ".ipynb", ".sh"):
        raise LuthierError(
            "A script, not a recipe",
            f"{path} is a program.",
            "`luthier recipes` lists recipes to start from.",
        )


def instead(key: str, value: Any) -> str:
    """What to write for a value that a key of ours does not take, as a TOML line: another tool's
    word for it, or a number in quotes; "" if nothing is known."""
    name = key.rpartition(".")[2]
    try:
        meant = SHARED[name](value, {}).get(key) if name in SHARED else other_tools.number(value)
    except (Untranslatable, TypeError, ValueError, KeyError):
        return ""
    return "" if meant is None or meant == value else f"{name} = {other_tools.toml_value(meant)}"


def other_recipe(text: str, path: Path, recipe_keys: Keys) -> LuthierError | None:
    """What to say of a recipe in YAML or JSON, with its translation; None if the text is
    neither."""
    try:
        is_json = path.suffix.lower() == ".json" or text.lstrip().startswith("{")
        values = foreign_json.decode(text, path) if is_json else msgspec.yaml.decode(text)
    except (ValueError, ImportError, RecursionError, msgspec.DecodeError):
        return None
    if isinstance(values, list) and path.suffix.lower() == ".json":
        hint = f'A recipe names its data: data = ["{path.name}"].'
        return LuthierError("Data, not a recipe", f"{path} contains a list, which is data.", hint)
    if (
        not isinstance(values, dict)
        or not values
        or not all(isinstance(key, str) for key in values)
    ):
        return None
    kind = "JSON" if text.lstrip().startswith("{") else "YAML"
    settings = [*_settings(values, recipe_keys)]
    tools = [SETTINGS[each.name].tool for each in settings if each.name in SETTINGS]
    if len(tools) < _LEAST_TRANSLATED:
        return LuthierError(
            "The recipe is not valid TOML",
            f"{path} is {kind}.",
            "A recipe is TOML: key = value, and [train] begins a section.",
        )
    tool = max(dict.fromkeys(tools), key=tools.count)
    left = [f"# {sentence}" for each in settings if (sentence := _left_out(each))]
    hint = "\n".join(
        [
            "The same as a Luthier recipe (TOML), with settings that have no counterpart as"
            " comments:",
            _recipe_of(settings, recipe_keys),
            *left,
        ]
    )
    return LuthierError(
        "A recipe for another tool", f"{path} is {kind} with settings of {tool}.", hint
    )


def has_other_settings(values: dict[str, Any], recipe_keys: Keys) -> bool:
    """Whether these are a recipe's: ours, or another tool's by at least two of its settings."""
    settings = [*_settings(values, recipe_keys)]
    return len([each for each in settings if each.name in SETTINGS]) >= _LEAST_TRANSLATED


def _unknown(values: dict[str, Any], recipe_keys: Keys) -> Iterator[Unknown]:
    for name, value in values.items():
        if name not in recipe_keys[""]:
            yield Unknown("", name, value, values)
            inside = (
                value if isinstance(value, dict) and any(key in SETTINGS for key in value) else {}
            )
            theirs = {
                key: setting for key, setting in inside.items() if key in SETTINGS or key in SHARED
            }
            yield from (
                Unknown(name, key, setting, {**values, **value}) for key, setting in theirs.items()
            )
        elif name in recipe_keys and isinstance(value, dict):
            yield from (
                Unknown(name, key, setting, {**values, **value})
                for key, setting in value.items()
                if key not in recipe_keys[name]
            )
        elif name == "data" and isinstance(value, list):
            for number, entry in enumerate(value):
                if isinstance(entry, dict):
                    yield from (
                        Unknown(f"data[{number}]", key, setting, entry)
                        for key, setting in entry.items()
                        if key not in recipe_keys[name]
                    )


def _meant(
    unknown: Unknown, recipe_keys: Keys, short_names: dict[str, str], *, names_key: bool = False
) -> str:
    """What was meant, as a sentence. `names_key`: among several, so that it names the key."""
    name, section = unknown.name, unknown.section.partition("[")[0]
    if name in SETTINGS:
        return other_tools.explained(name, unknown.value, unknown.beside)
    elsewhere = [each for each, names in recipe_keys.items() if name in names and each != "data"]
    if elsewhere:
        return (
            f"{name} belongs to {f'[{elsewhere[0]}]' if elsewhere[0] else 'the top of the recipe'}."
        )
    sections = {
        key: section for section, keys in recipe_keys.items() if section != "data" for key in keys
    }
    here = [
        f"{unknown.section}.{key}".lstrip(".")
        for key in near(name, recipe_keys.get(section, []), _CUTOFF)
    ]
    anywhere = [f"{sections[key]}.{key}".lstrip(".") for key in near(name, sections, _CUTOFF)]
    keys_meant = [short_names[name]] if name in short_names else here or anywhere
    if keys_meant:
        begin = f"{unknown.key}: did" if names_key else "Did"
        return f"{begin} you mean {' or '.join(keys_meant)}?"
    return (
        f"{f'{unknown.key}: known' if names_key else 'Known'} here:"
        f" {', '.join(recipe_keys.get(section, []))}."
    )


def _settings(values: dict[str, Any], recipe_keys: Keys) -> Iterator[Unknown]:
    """Another tool's settings, wherever they are nested; those that have our names, too."""
    for name, value in values.items():
        if name not in SETTINGS and isinstance(value, dict):
            yield from _settings(value, recipe_keys)
        elif name in SETTINGS or any(
            name in names
            for section, names in recipe_keys.items()
            if section in ("train", "lora", "trackers")
        ):
            yield Unknown("", name, value, values)


def _recipe_of(unknown: list[Unknown], recipe_keys: Keys) -> str:
    """The recipe's lines for what can be translated or stands in the wrong place."""
    values: other_tools.Values = {}
    for each in unknown:
        try:
            values |= _translated(each, recipe_keys)
        except Untranslatable:
            continue
    order = ("name", "model", "data", "gpus")
    return other_tools.as_recipe({**{key: values[key] for key in order if key in values}, **values})


def _translated(unknown: Unknown, recipe_keys: Keys) -> other_tools.Values:
    """Raises Untranslatable."""
    if unknown.name in SETTINGS:
        return other_tools.translated(unknown.name, unknown.value, unknown.beside)
    try:
        if unknown.name in SHARED:
            return SHARED[unknown.name](unknown.value, unknown.beside)
    except (TypeError, ValueError, KeyError):
        raise Untranslatable(f"{unknown.value!r} has no counterpart here") from None
    section = next(
        (each for each, names in recipe_keys.items() if unknown.name in names and each != "data"),
        None,
    )
    return {} if section is None else {f"{section}.{unknown.name}".lstrip("."): unknown.value}


def _left_out(unknown: Unknown) -> str:
    """Why a setting is not in the translation, "" if it is or if the default does the same."""
    if unknown.name not in SETTINGS:
        return ""
    try:
        if (
            other_tools.translated(unknown.name, unknown.value, unknown.beside)
            or SETTINGS[unknown.name].ours
        ):
            return ""
    except Untranslatable:
        pass
    return other_tools.explained(unknown.name, unknown.value, unknown.beside)
