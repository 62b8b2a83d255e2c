"""What a recipe's key may be, from the recipe's types: in words, as a list of choices, and read
from what somebody types. Light."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from functools import cache
from typing import Any

import msgspec
import tomlkit
from msgspec import inspect

from trainer.data.policies import POLICIES
from trainer.key_facts import described_keys
from trainer.recipe import Recipe

_MARKDOWN = re.compile(r"`|\*\*|\[([^\]]+)\]\([^)]*\)")


@cache
def key_types() -> dict[str, inspect.Type]:
    """The type of each key that is no section, by its name ("train.epochs")."""
    types: dict[str, inspect.Type] = {}

    def walk(kind: inspect.Type, prefix: str) -> None:
        for field in kind.fields if isinstance(kind, inspect.StructType) else ():
            name = f"{prefix}{field.encode_name}"
            inner = _bare(field.type)
            if isinstance(inner, inspect.StructType):
                walk(inner, f"{name}.")
            else:
                types[name] = inner

    walk(_bare(inspect.type_info(Recipe)), "")
    return types


@cache
def _helps() -> dict[str, str]:
    return {each.name: each.facts.help for each in described_keys(Recipe)}


@cache
def _defaults() -> dict[str, Any]:
    built: dict[str, Any] = msgspec.to_builtins(Recipe(data=["data"]))
    return built


def help_of(key: str) -> str:
    """What the key means, without Markdown; of a key that says nothing itself what its section
    means."""
    section, _, name = key.rpartition(".")
    policy = POLICIES.get(name) if section == "policy" else None
    text = policy.meets if policy is not None else _helps().get(key) or _helps().get(section, "")
    plain = _MARKDOWN.sub(lambda match: match.group(1) or "", text)
    return f"{plain[:1].upper()}{plain[1:].rstrip(':.; ')}." if plain else ""


def default_of(key: str) -> Any:
    """The value of a recipe that does not name the key."""
    value: Any = _defaults()
    for part in key.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    return value


def choices(key: str) -> list[str]:
    """The values that are listed by the type: of "auto" | bool these three."""
    options: list[str] = []
    for kind in _alternatives(key_types()[key]):
        if isinstance(kind, inspect.LiteralType):
            options += [str(value) for value in kind.values]
        elif isinstance(kind, inspect.BoolType):
            options += ["true", "false"]
    return options


def in_words(key: str) -> str:
    """What may stand there: "auto, or a number above 0"."""
    listed = choices(key)
    kinds = [_words(kind) for kind in _alternatives(key_types()[key])]
    parts = [", ".join(listed)] if listed else []
    return ", or ".join([*parts, *dict.fromkeys(filter(None, kinds))])


def from_text(key: str, text: str) -> Any:
    """A value as somebody types it: TOML, or without its quotes and brackets."""
    kinds = _alternatives(key_types()[key])
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        value = text
    lists = any(isinstance(kind, inspect.ListType) for kind in kinds)
    if isinstance(value, str) and lists and value not in choices(key):
        return [part.strip() for part in value.split(",") if part.strip()]
    takes_text = any(isinstance(kind, inspect.StrType) for kind in kinds)
    takes_numbers = any(isinstance(kind, inspect.IntType | inspect.FloatType) for kind in kinds)
    is_plain = not isinstance(value, str | list | dict)
    return text if takes_text and is_plain and not takes_numbers else value


def as_text(value: Any) -> str:
    """As `from_text` reads it."""
    if value is None:
        return "none"
    if isinstance(value, str):
        return value
    if isinstance(value, Mapping):
        inline_table = tomlkit.inline_table()
        inline_table.update(value)
        return str(inline_table.as_string())
    return str(tomlkit.item(value).as_string())


def _bare(kind: inspect.Type) -> inspect.Type:
    return _bare(kind.type) if isinstance(kind, inspect.Metadata) else kind


def _alternatives(kind: inspect.Type) -> list[inspect.Type]:
    kinds = kind.types if isinstance(kind, inspect.UnionType) else (kind,)
    return [_bare(each) for each in kinds]


def _words(kind: inspect.Type) -> str:
    """Of a type that lists no values; "" of one that does."""
    match kind:
        case inspect.IntType():
            return f"a whole number{_limits(kind)}"
        case inspect.FloatType():
            return f"a number{_limits(kind)}"
        case inspect.StrType():
            return "a text"
        case inspect.ListType():
            return "a list"
        case inspect.DictType():
            return "a table"
        case _:
            return ""


def _limits(kind: inspect.IntType | inspect.FloatType) -> str:
    limits = [
        ("of at least", kind.ge),
        ("above", kind.gt),
        ("of at most", kind.le),
        ("below", kind.lt),
    ]
    parts = [f"{words} {limit:g}" for words, limit in limits if limit is not None]
    return f" {' and '.join(parts)}" if parts else ""
