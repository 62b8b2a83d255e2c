"""What is told of a model, on the screen and on the command line alike."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from workshop.number_format import count, size

if TYPE_CHECKING:
    from models.catalogue import Entry, Use


def facts(entry: Entry, users: Sequence[Use]) -> list[tuple[str, str]]:
    """Pairs of a title and a value; nothing of what is not known."""
    weights = [
        count(entry.parameters),
        f"rank {entry.rank}" if entry.rank else "",
        size(entry.bytes),
        entry.architecture,
    ]
    no_template = "none" if entry.ready else ""
    pairs = [
        (
            "base",
            entry.base
            if entry.base_path is not None or not entry.base
            else f"{entry.base}, which is not here",
        ),
        ("weights", ", ".join(part for part in weights if part) if entry.ready else ""),
        (
            "context",
            f"{entry.context_length:,} tokens" if entry.context_length else "",
        ),
        (
            "template",
            no_template if entry.template is None else str(entry.template),
        ),
        ("licence", entry.licence or ("not known" if entry.ready else "")),
        ("origin", entry.origin),
        ("used by", ", ".join(str(use) for use in users)),
        ("folder", homely(entry.path)),
    ]
    return [(title, value) for title, value in pairs if value]


def homely(path: Path) -> str:
    """A path under the user's home as they would write it."""
    return f"~/{path.relative_to(Path.home())}" if path.is_relative_to(Path.home()) else str(path)
