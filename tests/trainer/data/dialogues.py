"""Rows and messages for the tests of formats, and a row read twice: by what is recognised, and by
the mapping of that."""

from __future__ import annotations

from typing import Any

from trainer.data.formats import Mapping, recognise
from trainer.data.formats_turns import REPAIRS, Converted, Message

Row = dict[str, Any]
Dialogue = list[Message]


def said(role: str, content: Any) -> Message:
    return {"role": role, "content": content}


def turns(*texts: str, system: str = "") -> Dialogue:
    """User and assistant by turns."""
    return [
        *([said("system", system)] if system else []),
        *(said(("user", "assistant")[place % 2], text) for place, text in enumerate(texts)),
    ]


def convert(row: Row, mapping: Mapping | None = None) -> Converted:
    """As the format recognised from this row alone, which its own mapping must lead to again."""
    found = recognise([row], mapping)
    again = recognise([row], found.mapping)
    converted = found.convert(row)
    assert again.convert(row) == converted
    assert set(converted.repairs) <= set(REPAIRS)
    return converted
