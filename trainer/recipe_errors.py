"""What is wrong with a recipe's file, in a user's words. Light."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

from jobs.luthier_error import LuthierError
from jobs.near import did_you_mean, near
from trainer.unknown_keys import instead

_LISTED = "docs/recipe.md lists them."


def no_such_recipe(path: Path) -> LuthierError:
    """With the file beside it that is named nearly so, or the known recipe of that name
    (trainer.presets)."""
    if (Path(__file__).parent / "recipes" / f"{path.stem}.toml").is_file():
        hint = (
            f"Luthier knows a recipe of that name: `luthier recipes {path.stem} > {path.stem}.toml`"
            " writes it down."
        )
        return LuthierError("No such recipe", f"{path} is not there.", hint)
    beside = [near.name for near in path.parent.glob("*.toml")] if path.parent.is_dir() else []
    meant = _meant_file(path, beside)
    hint = meant or "examples/captain/recipe.toml is one to start from."
    return LuthierError("No such recipe", f"{path} is not there.", hint)


def no_such_data(path: Path) -> LuthierError:
    """With the files beside it that are named nearly so."""
    beside = [near.name for near in path.parent.glob("*")] if path.parent.is_dir() else []
    hint = _meant_file(path, beside) or "Give a data file, a folder of them, or hub:owner/name."
    return LuthierError("No such data", f"{path} is not there.", hint)


def _meant_file(path: Path, beside: list[str]) -> str:
    """The question about the files whose names are near the path's; "" without one."""
    return did_you_mean(
        str(path), [str(path.parent / name) for name in near(path.name, beside, 0.7)], 0
    ).strip()


def no_toml(text: str, error: tomllib.TOMLDecodeError, where: str) -> LuthierError:
    """With the line, and a hint that fits what people write."""
    at_line = re.search(r"at line (\d+)", str(error))
    number = int(at_line[1]) if at_line else len(text.splitlines())
    line = next(iter(text.splitlines()[number - 1 : number]), "").strip()
    hint = "Strings need quotes; a section begins with [train]."
    if re.search(r"=\s*(True|False|None|null)\b", line):
        hint = "TOML writes true and false; what is not set is left out."
    elif re.fullmatch(r"[\w-]+:.*", line):
        hint = "TOML writes key = value, not key: value."
    elif "\\" in line:
        hint = "A backslash needs single quotes around the text: 'C:\\data', say."
    elif "Cannot overwrite" in str(error) or "Cannot declare" in str(error):
        hint = "This key or section stands twice: leave one of them."
    reason = re.sub(r" \(at .*\)", "", str(error))
    quoted = f" That line is: {line[:120]}" if line else ""
    return LuthierError("The recipe is no TOML", f"{where}, line {number}: {reason}.{quoted}", hint)


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
            f'Add {missing[1]} = ["file.jsonl"], say.',
        )
    line = instead(section, _at(section, values))
    hint = f"Write {line}." if line else _LISTED
    choice = re.fullmatch(r"Invalid enum value (.+)", problem)
    if choice and (allowed := _values(section, recipe)):
        given_value = choice[1].strip("'")
        return LuthierError(
            "Wrong value in the recipe",
            f"{where}: {section} is one of {', '.join(allowed)}; it says {given_value}.",
            hint,
        )
    sweep = (
        "A list of values makes a sweep, which `luthier plan` and `luthier train` take."
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
