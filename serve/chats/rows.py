"""The rows of `chats.db` as types: SQLite keeps whatever it is given, whatever the column says."""

from __future__ import annotations

import sqlite3
from typing import Literal, TypeVar

import msgspec

from models import foreign

Verdict = Literal["better", "worse", "tie", "bad"]
T = TypeVar("T")


class ChatRow(msgspec.Struct):
    id: str
    title: str
    created: float
    updated: float
    settings: str
    blind: int


class TurnRow(msgspec.Struct):
    id: str
    number: int
    messages: str
    settings: str
    tools: str
    source: str | None
    edits: str | None
    created: float


class AnswerRow(msgspec.Struct):
    id: str
    speaker: str
    settings: str
    skipped: int
    corrects: str | None
    text: str
    reasoning: str
    calls: str
    state: str
    detail: str
    created: float


class VoteRow(msgspec.Struct):
    id: str
    turn: str
    answers: str
    verdict: Verdict
    choice: str | None
    blind: int
    reason: str
    created: float


def row_as(kind: type[T], row: sqlite3.Row, where: str) -> T:
    """Damaged if a column has a value of another type."""
    return foreign.convert(dict(row), kind, where)
