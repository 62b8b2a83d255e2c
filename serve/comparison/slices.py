"""The prompts of a comparison, divided by what their file says of each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from difflib import get_close_matches
from itertools import pairwise
from statistics import quantiles
from typing import Any

from jobs.luthier_error import LuthierError
from serve.comparison.items import Item

TURN = "turn"
"""Which turn of its conversation a prompt is; not a column of the file."""
NONE, OTHERS = "(none)", "(others)"
_MOST_VALUES = 20
_MOST_NUMBERS = 8
_LONGEST = 40  # characters of a value


def check_columns(items: Sequence[Item], columns: Sequence[str]) -> None:
    """LuthierError for a column that no prompt has."""
    present = {TURN} | {name for item in items for name in flat(item.columns)}
    for column in columns:
        if column not in present:
            near = get_close_matches(column, sorted(present), 1)
            names = ", ".join(sorted(present)[:12])
            raise LuthierError(
                "No such column",
                f"No prompt has the column {column!r}. The file has: {names}.",
                f"Did you mean --by {near[0]}?" if near else "Choose one of these for --by.",
            )


def slices(items: Sequence[Item], column: str) -> dict[str, list[int]]:
    """The indices of the prompts by the column's value, the largest slice first. Many numbers are
    four quarters; rare values are one slice together."""
    values = [
        item.turn if column == TURN and TURN not in item.columns else flat(item.columns).get(column)
        for item in items
    ]
    numbers = [
        value for value in values if isinstance(value, int | float) and not isinstance(value, bool)
    ]
    others = [value for value in values if value is not None]
    if len(set(numbers)) > _MOST_NUMBERS and len(numbers) == len(others):
        return _quarters(values, numbers)
    names = [_name(value) for value in values]
    frequent = {name for name, _ in Counter(names).most_common(_MOST_VALUES)}
    if len(set(names)) > _MOST_VALUES:
        names = [name if name in frequent else OTHERS for name in names]
    by_name: dict[str, list[int]] = {}
    for index, name in enumerate(names):
        by_name.setdefault(name, []).append(index)
    return dict(sorted(by_name.items(), key=lambda entry: (-len(entry[1]), entry[0])))


def flat(columns: dict[str, Any], before: str = "") -> dict[str, Any]:
    """Columns within columns by their names with a dot: "meta.topic"."""
    values: dict[str, Any] = {}
    for name, value in columns.items():
        if isinstance(value, dict):
            values |= flat(value, f"{before}{name}.")
        else:
            values[f"{before}{name}"] = value
    return values


def _quarters(values: Sequence[Any], numbers: Sequence[float]) -> dict[str, list[int]]:
    """From the smallest to the largest."""
    bounds = quantiles(numbers, n=4, method="inclusive")
    edges = [min(numbers), *bounds, max(numbers)]
    names = [f"{low:g} to {high:g}" for low, high in pairwise(edges)]
    parts: dict[str, list[int]] = {name: [] for name in [*names, NONE]}
    for index, value in enumerate(values):
        parts[NONE if value is None else names[sum(value > bound for bound in bounds)]].append(
            index
        )
    return {name: part for name, part in parts.items() if part}


def _name(value: Any) -> str:
    if value is None or value == "":
        return NONE
    text = " ".join((value if isinstance(value, str) else repr(value)).split())
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"
