"""Facts of a recipe's key, which stand at the key: what it means, whether a run may go on with
another value of it, how the runs of a sweep abbreviate it. Light.

trainer.resume, trainer.sweep and the tables of docs/recipe.md and docs/runs.md are made of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any, Literal, get_origin, get_type_hints

import msgspec

Resume = Literal["never", "forced", "free"]
"""Whether a run goes on with another value: never, since its checkpoints would not fit; if somebody
insists; or freely, since no weight depends on it."""
_FACTS = "facts"


@dataclass(frozen=True)
class Facts:
    help: str
    """What the key means, in Markdown."""
    resume: Resume = "forced"
    """Of a section: with other values of any of its keys."""
    short: str | None = None
    """In the name of a sweep's run: instead of the key's own name; "" where the value says
    enough."""
    default: str = ""
    """In words, where the default is no value of its own."""


@dataclass(frozen=True)
class Key:
    name: str
    """Such as "train.epochs", or the name of a section."""
    facts: Facts
    is_section: bool
    default: Any

    @property
    def row(self) -> str:
        """Its row in the table of docs/recipe.md."""
        name = self.name.rpartition(".")[2]
        meaning = self.facts.help.replace("|", "\\|")
        if self.is_section:
            return f"| **`{name}`** | | {meaning} |".replace("|  |", "| |")
        return f"| `{name}` | {self.facts.default or _as_toml(self.default)} | {meaning} |"


def key(
    help_text: str,
    *,
    resume: Resume = "forced",
    short: str | None = None,
    default: str = "",
    **limits: Any,
) -> msgspec.Meta:
    """What annotates a key: its facts, and msgspec's limits of its value."""
    return msgspec.Meta(extra={_FACTS: Facts(help_text, resume, short, default)}, **limits)


def described_keys(kind: type[msgspec.Struct], prefix: str = "") -> Iterator[Key]:
    """The keys of a recipe that have facts, in their order, each section before its own."""
    hints = get_type_hints(kind, include_extras=True)
    for field in msgspec.structs.fields(kind):
        hint = hints[field.name]
        section = _section(hint)
        facts = _facts(hint)
        if facts is not None:
            name = f"{prefix}{field.name}"
            yield Key(name, facts, section is not None, _default(field))
        if section is not None:
            yield from described_keys(section, f"{prefix}{field.name}.")


def resume_rows(recipe: type[msgspec.Struct]) -> list[str]:
    """The rows of the table of docs/runs.md: what a changed key means for a run that goes on."""
    keys = [*described_keys(recipe)]
    return [
        f"| {_listed(keys, 'never')} | a new run, because its checkpoints would not fit |",
        f"| {_listed(keys, 'free')} | nothing, because no weight depends on it |",
    ]


def _listed(keys: list[Key], rule: Resume) -> str:
    return ", ".join(
        f"`[{key.name}]`" if key.is_section else f"`{key.name}`"
        for key in keys
        if key.facts.resume == rule
    )


def _default(field: msgspec.structs.FieldInfo) -> Any:
    if field.default_factory is not msgspec.NODEFAULT:
        return field.default_factory()
    return field.default


def _facts(hint: Any) -> Facts | None:
    if get_origin(hint) is not Annotated:
        return None
    for meta in hint.__metadata__:
        extra = meta.extra if isinstance(meta, msgspec.Meta) else None
        if extra is not None and _FACTS in extra:
            facts: Facts = extra[_FACTS]
            return facts
    return None


def _section(hint: Any) -> type[msgspec.Struct] | None:
    """The struct that a key's table is decoded into, if it has one."""
    kind = hint.__origin__ if get_origin(hint) is Annotated else hint
    is_struct = isinstance(kind, type) and issubclass(kind, msgspec.Struct)
    return kind if is_struct else None


def _as_toml(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return f'`"{value}"`'
    return f"`{value}`" if isinstance(value, list) else str(value)
