"""Makes docs/events.md from the types of the events."""

from __future__ import annotations

import ast
import inspect
import sys
import textwrap
import types
from dataclasses import MISSING
from dataclasses import fields as dataclass_fields
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

import msgspec

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "events.md"
sys.path.insert(0, str(ROOT))

from models.events import KINDS, Check, Figure, Ledger  # noqa: E402

_ABOUT = """---
search:
  boost: 0.5
---

# Events

<!-- Made by tools/event_page.py from jobs/event_kinds.py and models/events.py. Do not edit. -->

`events.jsonl` in a job's folder has one JSON object per line: `t`, the time at which it was
appended in unix seconds, `kind`, and the fields of that kind. The supervisor and the worker append
whole lines; everybody else only reads. A field that is not marked "always" can be missing or null.
Readers leave a torn last line for later. They show a line of an unknown kind, or with fields of
other types than these, as it is, and decide nothing by it.

A number that is not finite is written as its name: "nan", "inf", "-inf". Times are in seconds,
sizes in bytes.
"""
_NAMES = {
    str: "text",
    int: "integer",
    float: "number",
    bool: "true or false",
    dict: "object",
    list: "list",
    type(None): "null",
    Any: "any",
}


def page() -> str:
    parts = [_ABOUT]
    for name, kind in sorted(KINDS.items()):
        parts.append(_section(f"`{name}`", kind))
    parts.append(_section("`ledger` in `data`", Ledger))
    parts.append(_section("A check in `template`", Check))
    return "\n".join(parts)


def _section(title: str, kind: type[Any]) -> str:
    hints = get_type_hints(kind, include_extras=True)
    texts = _field_texts(kind)
    rows = [
        f"| `{name}` | {_type_name(hints[name])} | {_needed(required)} | {texts[name]} |"
        for name, required in _fields(kind)
        if name != "t"
    ]
    table = ["", "| field | type | present | meaning |", "|---|---|---|---|", *rows] if rows else []
    about = textwrap.fill(" ".join((inspect.getdoc(kind) or "").split()), 100)
    return "\n".join([f"## {title}", "", about, *table, ""])


def _needed(required: bool) -> str:
    return "always" if required else ""


def _fields(kind: type[Any]) -> list[tuple[str, bool]]:
    """The names of the fields, and whether each must be there."""
    if issubclass(kind, msgspec.Struct):
        return [(entry.name, entry.required) for entry in msgspec.structs.fields(kind)]
    return [
        (entry.name, entry.default is MISSING and entry.default_factory is MISSING)
        for entry in dataclass_fields(kind)
    ]


def _field_texts(kind: type[Any]) -> dict[str, str]:
    """The text below each field in the source, those of the classes that it builds on first."""
    texts: dict[str, str] = {}
    for base in reversed(kind.__mro__):
        if base.__module__ not in ("jobs.event_kinds", "models.events"):
            continue
        (definition,) = ast.parse(textwrap.dedent(inspect.getsource(base))).body
        assert isinstance(definition, ast.ClassDef)
        for field, text in zip(definition.body, definition.body[1:], strict=False):
            match field, text:
                case (
                    ast.AnnAssign(target=ast.Name(id=name)),
                    ast.Expr(value=ast.Constant(value=str(words))),
                ):
                    texts[name] = " ".join(words.split())
                case _:
                    pass
    return texts


def _type_name(kind: Any) -> str:
    origin, inner = get_origin(kind), get_args(kind)
    if kind == Figure:
        return "number"
    if origin is Annotated:
        return _type_name(inner[0])
    if origin in (Union, types.UnionType):
        words = [_type_name(part) for part in inner if part is not type(None)]
        return " or ".join(dict.fromkeys(words))
    if origin is Literal:
        return "text"
    if origin is list:
        return f"list of {_type_name(inner[0])}"
    if origin is dict:
        return f"object of {_type_name(inner[1])}"
    return _NAMES.get(kind, "object")


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
