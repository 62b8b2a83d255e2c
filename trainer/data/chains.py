"""Conversations from rows that follow each other. All rows are needed before the first can be
given: they wait in a SQLite table on disk, so that memory holds a few numbers a row."""

from __future__ import annotations

import json
import sqlite3
import tempfile
from array import array
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from trainer.data.files import RawRow
from trainer.data.formats import Format
from trainer.data.formats_chains import key_of, order_of
from trainer.data.formats_turns import Converted, Message, RowProblem
from trainer.data.streams import LONGEST_ROW

# of a row that follows none, and of one that follows a row that is not there
_ROOT, _MISSING = -1, -2
_NOBODY = -1
_SCHEMA = (
    "CREATE TABLE rows(row INTEGER PRIMARY KEY, id TEXT, parent TEXT, conversation TEXT, turn, body"
    " TEXT, damage TEXT, code TEXT)"
)
_BROKEN = "broken_chain"


class Link(NamedTuple):
    """A row of a file whose rows follow each other."""

    row: int
    converted: Converted | None = None
    """The conversation, of a row that is its last one."""
    carrier: int | None = None
    """The last row of the conversation in which this row's turns stand, if that is another one."""
    code: str = ""
    """Why the row is in no conversation, a key of `PROBLEMS`; "" for damage."""
    detail: str = ""
    """The same in words."""


def chained(
    rows: Iterator[RawRow], row_format: Format, enough: Callable[[], bool]
) -> Iterator[Link]:
    """What becomes of each row, in order. `enough` ends the reading early; rows that then follow
    one that was not read are left out."""
    with tempfile.TemporaryDirectory(prefix="luthier-rows-") as folder:
        table = sqlite3.connect(Path(folder, "rows"), isolation_level=None)
        try:
            for setting in (
                "journal_mode = OFF",
                "synchronous = OFF",
                "cache_size = -16384",
                "temp_store = FILE",
            ):
                table.execute(f"PRAGMA {setting}")
            table.execute(_SCHEMA)
            is_whole = _fill(table, rows, row_format, enough)
            yield from _Chains(table, row_format, is_whole=is_whole).links()
        finally:
            table.close()


def _fill(
    table: sqlite3.Connection,
    rows: Iterator[RawRow],
    row_format: Format,
    enough: Callable[[], bool],
) -> bool:
    """The rows into the table; whether they are all of them."""
    columns = row_format.mapping.columns
    names = [columns.get(part) for part in ("id", "parent", "conversation", "turn")]
    table.execute("BEGIN")
    is_whole = True
    for raw in rows:
        value = raw.value or {}
        ident, parent, conversation, turn = (
            None if name is None else value.get(name) for name in names
        )
        keys = (
            key_of(ident) or None,
            key_of(parent) or None,
            key_of(conversation) or None,
            order_of(turn),
        )
        body, damage, code = None, raw.damage, ""
        if raw.value is not None:
            try:
                body = json.dumps(row_format.convert(raw.value), ensure_ascii=False)
            except RowProblem as problem:
                damage, code = problem.detail, problem.code
        table.execute(
            "INSERT INTO rows VALUES(?, ?, ?, ?, ?, ?, ?, ?)", (raw.row, *keys, body, damage, code)
        )
        if enough():
            is_whole = False
            break
    table.execute("COMMIT")
    return is_whole


class _Chains:
    """Which row follows which: `_before` has the row before each, `_carrier` the last row of the
    first conversation that has it."""

    def __init__(self, table: sqlite3.Connection, row_format: Format, *, is_whole: bool) -> None:
        self._table, self._is_whole = table, is_whole
        number = table.execute("SELECT ifnull(max(row) + 1, 0) FROM rows").fetchone()[0]
        self._before = array("q", [_ROOT]) * number
        self._carrier = array("q", [_NOBODY]) * number
        self._followed = bytearray(number)
        if "parent" in row_format.mapping.columns:
            self._by_parent()
        else:
            self._by_order("conversation" in row_format.mapping.columns)
        self._carry()

    def _by_parent(self) -> None:
        self._table.execute("CREATE INDEX by_id ON rows(id)")
        # A first row may name itself, or row 0 where numbers begin at 1.
        self._table.execute("UPDATE rows SET parent = NULL WHERE parent = id")
        self._table.execute(
            "UPDATE rows SET parent = NULL WHERE parent = '0' AND NOT EXISTS (SELECT 1 FROM rows"
            " one WHERE one.id = '0')"
        )
        before = (
            "(SELECT min(one.row) FROM rows one WHERE one.id = rows.parent AND one.body IS NOT"
            " NULL)"
        )
        if not self._table.execute(
            f"SELECT 1 FROM rows WHERE parent IS NOT NULL AND {before} IS NOT NULL LIMIT 1"
        ).fetchone():
            return  # the column names rows of something else
        for row, parent in self._table.execute(
            f"SELECT row, {before} FROM rows WHERE parent IS NOT NULL AND body IS NOT NULL"
        ):
            self._follow(row, _MISSING if parent is None else parent)

    def _by_order(self, has_conversations: bool) -> None:
        is_part = (
            "conversation IS NOT NULL" if has_conversations else "code != ''  OR damage IS NULL"
        )
        order = (
            "SELECT row, conversation, body IS NOT NULL FROM rows WHERE {} ORDER BY conversation,"
            " turn, row"
        )
        before, last, is_read = _ROOT, None, True
        for row, conversation, readable in self._table.execute(order.format(is_part)):
            if conversation != last:
                before, last, is_read = _ROOT, conversation, True
            if not has_conversations and before == _ROOT and not readable:
                continue  # a file of one conversation may begin with a row about it
            is_read = is_read and bool(readable)
            if readable:
                self._follow(row, before if is_read else _MISSING)
            before = row

    def _follow(self, row: int, before: int) -> None:
        self._before[row] = before
        if before >= 0:
            self._followed[before] = True

    def _carry(self) -> None:
        """Each row that nobody follows ends a conversation; a row that several share belongs to the
        first of them."""
        for (row,) in self._table.execute(
            "SELECT row FROM rows WHERE body IS NOT NULL ORDER BY row"
        ):
            if not self._followed[row]:
                for part in self._path(row):
                    if self._carrier[part] == _NOBODY:
                        self._carrier[part] = row

    def _path(self, row: int) -> list[int]:
        """The rows of the conversation that ends here, from the first; [] if one is not there, or
        they follow each other in a ring."""
        path, visited = [row], {row}
        while (before := self._before[path[-1]]) >= 0:
            if before in visited:
                return []
            visited.add(before)
            path.append(before)
        return path[::-1] if before == _ROOT else []

    def links(self) -> Iterator[Link]:
        for row, damage, code, readable in self._table.execute(
            "SELECT row, damage, code, body IS NOT NULL FROM rows ORDER BY row"
        ):
            carrier = self._carrier[row]
            if not readable:
                yield Link(row, code=code, detail=damage or "")
            elif carrier == row:
                yield self._conversation(row)
            elif carrier != _NOBODY:
                yield Link(
                    row,
                    carrier=carrier,
                    detail=f"its turns are part of the conversation of row {carrier}",
                )
            elif self._is_whole:
                yield Link(row, code=_BROKEN, detail=self._break(row))

    def _break(self, row: int) -> str:
        """Why a row is part of no conversation."""
        visited = {row}
        while (before := self._before[row]) >= 0:
            if before in visited:
                return f"it follows row {before}, which in turn follows it"
            visited.add(before)
            row = before
        parent = self._table.execute("SELECT parent FROM rows WHERE row = ?", (row,)).fetchone()[0]
        cause = (
            f"row {row} follows `{parent}`, which is missing or cannot be read"
            if parent
            else "a row before it cannot be read"
        )
        return f"{cause}, so the question that it answers is unknown"

    def _conversation(self, row: int) -> Link:
        """The turns of all its rows. What was trained with an earlier conversation has the weight 0
        here."""
        path = self._path(row)
        parts: list[Converted] = []
        size = 0
        for part in path:
            body = self._table.execute("SELECT body FROM rows WHERE row = ?", (part,)).fetchone()[0]
            size += len(body)
            if size > LONGEST_ROW:
                return Link(
                    row,
                    code=_BROKEN,
                    detail=(
                        f"its conversation of {len(path)} rows is longer than"
                        f" {LONGEST_ROW >> 20} MiB"
                    ),
                )
            converted = Converted(*json.loads(body))
            if self._carrier[part] != row:
                trained = [
                    {**message, "weight": 0} if message.get("role") == "assistant" else message
                    for message in converted.messages
                ]
                converted = converted._replace(messages=trained)
            parts.append(converted)
        return Link(row, converted=_joined(parts))


def _joined(parts: Sequence[Converted]) -> Converted:
    """One conversation of several; a system prompt that each part repeats stands once."""
    messages: list[Message] = []
    prompts: list[Any] = []
    for part in parts:
        for message in part.messages:
            if message.get("role") == "system":
                if message.get("content") in prompts:
                    continue
                prompts.append(message.get("content"))
            messages.append(message)
    tools = next((part.tools for part in parts if part.tools), None)
    repairs = dict.fromkeys(repair for part in parts for repair in part.repairs)
    unknown = dict.fromkeys(key for part in parts for key in part.unknown)
    met = dict.fromkeys((policy, detail) for part in parts for policy, detail in part.met)
    return Converted(messages, tools, tuple(repairs), tuple(unknown), tuple(met))
