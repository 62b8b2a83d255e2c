"""The terms that Luthier uses, from glossary.toml. The help and docs/glossary.md read them here."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from tui.shared.action import Place

_FILE = Path(__file__).with_suffix(".toml")


@dataclass(frozen=True)
class Term:
    name: str
    text: str
    screens: tuple[Place, ...]
    """The screens whose help shows it without a search."""


@cache
def terms() -> tuple[Term, ...]:
    """All terms, sorted by name. Read when the help first opens."""
    entries = tomllib.loads(_FILE.read_text(encoding="utf-8"))["term"]
    by_file = [Term(entry["name"], entry["text"], tuple(entry["screens"])) for entry in entries]
    return tuple(sorted(by_file, key=lambda term: term.name.casefold()))


def matching_terms(screen: Place, search: str) -> list[Term]:
    """The terms with all words of the search; without one, the terms of this screen."""
    words = search.lower().split()
    if not words:
        return [term for term in terms() if screen in term.screens]
    return [
        term
        for term in terms()
        if all(word in f"{term.name} {term.text}".lower() for word in words)
    ]
