"""Tables that JSON holds column by column, as pandas and datasets write them unless asked
otherwise: row by row again."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import chain
from typing import Any

from trainer.data.formats_turns import LIST_COLUMNS, TURN_COLUMNS, decoded, turn_keys
from trainer.data.streams import Piece

TOO_LARGE = (
    ": it begins like a table stored by columns; write it by rows (pandas: to_json(path,"
    ' orient="records", lines=True))'
)
_PAIRS = ("history", "chat_history", "internal", "visible")  # of question and answer, in one row
_BEGINS = re.compile(r'\s*\{\s*"[^"]*"\s*:\s*(?:\{\s*"\d+"\s*:|\[\s*["\[\d])')


def begins_as_table(text: str) -> bool:
    """Whether a JSON text, of which this is the beginning, is one object whose first value is a
    column."""
    return _BEGINS.match(text) is not None


def by_rows(pieces: Iterator[Piece]) -> Iterator[Piece]:
    """The rows of the table that a file's only value is; the pieces as they are where it is
    none."""
    first = next(pieces, None)
    rows = None if first is None or first.value is None else _rows(first.value)
    if first is None or not rows:
        yield from chain([first] if first is not None else [], pieces)
        return
    second = next(pieces, None)
    if second is not None:
        yield from chain([first, second], pieces)
        return
    share, remainder = divmod(first.size, len(rows))
    for index, row in enumerate(rows):
        yield Piece(row, None, share + (remainder if index == 0 else 0))


def _rows(value: dict[str, Any]) -> list[dict[str, Any]] | None:
    """None for an object that is no table. The names are those of `orient` in pandas."""
    columns = list(value.values())
    if not columns:
        return None
    if isinstance(value.get("columns"), list) and isinstance(value.get("data"), list):
        return _split(value["columns"], value["data"])
    # columns
    if all(map(_is_numbered, columns)) and len({tuple(column) for column in columns}) == 1:
        return [{name: column[number] for name, column in value.items()} for number in columns[0]]
    if _is_numbered(value) and all(isinstance(row, dict) for row in columns):  # index
        return columns
    # to_dict
    if (
        len(value) > 1
        and all(_is_column(name, column) for name, column in value.items())
        and len(set(map(len, columns))) == 1
    ):
        return [dict(zip(value, row, strict=True)) for row in zip(*columns, strict=True)]
    return None


def _split(names: list[Any], rows: list[Any]) -> list[dict[str, Any]] | None:
    if not all(isinstance(name, str) for name in names) or not all(
        isinstance(row, list) and len(row) == len(names) for row in rows
    ):
        return None
    return [dict(zip(names, row, strict=True)) for row in rows]


def _is_numbered(value: Any) -> bool:
    return isinstance(value, dict) and bool(value) and all(key.isdecimal() for key in value)


def _is_column(name: str, items: Any) -> bool:
    """Whether a value is a column of many rows, as against the turns, the tools or the history of
    one."""
    if not isinstance(items, list):
        return False
    if name.lower() in _PAIRS and all(
        isinstance(item, list) and len(item) == 2 and not isinstance(item[0], list)
        for item in items
    ):
        return False
    if name.lower() in TURN_COLUMNS:
        return all(isinstance(decoded(item), list) for item in items)
    return not any(
        turn_keys(item) or (isinstance(item, dict) and name.lower() in LIST_COLUMNS)
        for item in items
    )
