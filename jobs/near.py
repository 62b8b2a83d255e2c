"""What a misspelt name was meant to be."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

_MOST = 3


def near(name: str, names: Iterable[str], cutoff: float = 0.6) -> list[str]:
    """At most three of the names, the nearest first. `cutoff`: difflib's ratio below which a name
    is another one."""
    return difflib.get_close_matches(name, list(dict.fromkeys(names)), _MOST, cutoff)


def did_you_mean(name: str, names: Iterable[str], cutoff: float = 0.6) -> str:
    """The question with a blank behind it, so that a hint may follow; "" if nothing is near."""
    close = near(name, names, cutoff)
    *before, last = close or [""]
    return f"Did you mean {', '.join(before)}{' or ' if before else ''}{last}? " if close else ""
