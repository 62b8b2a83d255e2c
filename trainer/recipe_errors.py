"""What is wrong with a recipe's file, in a user's words. Light."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

from jobs.luthier_error import LuthierError
from jobs.near import did_you_mean_file
from trainer.unknown_keys import instead

_LISTED = "docs/recipe.md lists them."


def no_such_recipe(path: Path) -> LuthierError:
    """With the file beside it that is named nearly so, or the known recipe of that name
    (trainer.presets)."""
    if (Path(__file__).parent / "recipes" / f"{path.stem}.toml").is_file():
        hint = (
            f"Luthier has a known recipe with that name: `luthier recipes {path.stem} >"
            f" {path.stem}.toml` writes it down."
        )
        return LuthierError("No such recipe", f"{path} does not exist.", hint)
    hint = f"{did_you_mean_file(path, '*.toml')}`luthier recipes` lists recipes to start from."
    return LuthierError("No such recipe", f"{path} does not exist.", hint)


def no_such_data(path: Path) -> LuthierError:
    """With the files beside it that are named nearly so."""
    return LuthierError(
        "No such data",
        f"{path} does not exist.",
        f"{did_you_mean_file(path)}Name a data file, a folder of data files, or hub:owner/name.",
    )


def no_toml(text: str, error: tomllib.TOMLDecodeError, where: str) -> LuthierError:
    """With the line, and a hint that fits what people write."""
    at_line = re.search(r"at line (\d+)", str(error))
    number = int(at_line[1]) if at_line else len(text.splitlines())
    line = next(iter(text.splitlines()[number - 1 : number]), "").strip()
    hint = "Strings need quotes; a section begins with [train]."
    if re.search(r"=\s*(True|False|None|null)\b", line):
        hint = "TOML uses true and false. Leave out keys that are not set."
    elif re.fullmatch(r"[\w-]+:.*", line):
        hint = "TOML writes key = value, not key: value."
    elif "\\" in line:
        hint = "A text with a backslash needs single quotes, for example 'C:\\data'."
    elif "Cannot overwrite" in str(error) or "Cannot declare" in str(error):
        hint = "This key or section appears twice. Remove one of them."
    reason = re.sub(r" \(at .*\)", "", str(error))
    quoted = f" That line is: {line[:120]}" if line else ""
    return LuthierError(
        "The recipe is not valid TOML", f"{where}, line {number}: {reason}.{quoted}", hint
    )


def wrong_value(
    message: str, where: str, values: dict[str, Any], recipe: type[Any]
) -> LuthierError:
    """msgspec's message about the struct `recipe` in a user's words: "Expected `int`, got `str` -
    at `$.train`" and the like."""
    problem, _, at = message.partition(" - at `")
    section = at.rstrip("`").removeprefix("$").lstrip(".")
    missing = re.fullmatch(r"Object missing required field `(.+)`", problem)
    if missing:
        return LuthierError(
            "Missing key in the recipe",
            f"{where}: {missing[1]} is required.",
            f'Add it, for example {missing[1]} = ["file.jsonl"].',
        )
    line = instead(section, _at(section, values))
    hint = f"Write {line}." if line else _LISTED
    choice = re.fullmatch(r"Invalid enum value (.+)", problem)
    if choice and (allowed := _values(section, recipe)):
        given_value = choice[1].strip("'")
        return LuthierError(
            "Wrong value in the recipe",
            f"{where}: {section} must be one of {', '.join(allowed)}, but it is {given_value}.",
            hint,
        )
    sweep = (
        "A list of values makes a sweep; run it with `luthier plan` or `luthier train`."
        if problem.endswith("got `array`")
        else ""
    )
    message = f"{where}: {section}: {problem[:1].lower()}{problem[1:]}."
    return LuthierError("Wrong value in the recipe", message, sweep or hint)


def _at(key: str, values: Any) -> Any:
    """The value at "train.epochs"; None where there is none."""
    for part in key.split("."):
        values = values.get(part) if isinstance(values, dict) else None
    return values


def _values(key: str, recipe: type[Any]) -> list[str]:
    """What a key takes of which there are a few; none for others."""
    hint: Any = recipe
    for part in key.split("."):
        hint = get_type_hints(hint).get(part) if isinstance(hint, type) else None
    kinds = [hint] if get_origin(hint) is Literal else [*get_args(hint)]
    literals = [kind for kind in kinds if get_origin(kind) is Literal]
    values = [str(value) for kind in literals for value in get_args(kind)]
    if not values:
        return []
    return values + [_in_words(kind) for kind in kinds if kind not in literals]


def _in_words(kind: Any) -> str:
    if kind is bool:
        return "true, false"
    return "a list" if get_origin(kind) is list else "a number"
