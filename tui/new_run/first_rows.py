"""The first rows of the data, as they are shown before they are tokenised."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from trainer.data.files import RawRow
    from trainer.data.reading import Row

_LONGEST_TEXT = 8000  # characters, more than a view has room for


@dataclass(frozen=True)
class FirstRow:
    title: str
    text: str


def as_read(row: Row) -> FirstRow:
    """The conversation that a row becomes."""
    turns = (f"{message['role']}: {_text_of(message)}" for message in row.messages or ())
    return FirstRow(f"row {row.row}   not tokenised yet", "\n".join(turns)[:_LONGEST_TEXT])


def as_in_the_file(row: RawRow) -> FirstRow:
    if row.value is None:
        text = row.damage or ""
    else:
        text = "\n".join(
            f"{key}: {json.dumps(value, ensure_ascii=False, default=str)}"
            for key, value in row.value.items()
        )
    return FirstRow(f"row {row.row}   as the file has it", text[:_LONGEST_TEXT])


def _text_of(message: Mapping[str, Any]) -> str:
    """What is said, or the calls of tools that are made instead."""
    calls = message.get("tool_calls")
    text = str(message.get("content") or "")
    return text if not calls else f"{text} {json.dumps(calls, ensure_ascii=False)}".lstrip()
