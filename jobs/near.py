"""What a misspelt name was meant to be."""

from __future__ import annotations

import difflib
import itertools
from collections.abc import Iterable
from pathlib import Path

_MOST = 3
_MOST_FILES = 2000  # of a folder that are looked at
_FILE_CUTOFF = 0.7


def near(name: str, names: Iterable[str], cutoff: float = 0.6) -> list[str]:
    """At most three of the names, the nearest first. `cutoff`: difflib's ratio below which a name
    is another one."""
    return difflib.get_close_matches(name, list(dict.fromkeys(names)), _MOST, cutoff)


def did_you_mean(name: str, names: Iterable[str], cutoff: float = 0.6) -> str:
    """The question with a blank behind it, so that a hint may follow; "" if nothing is near."""
    close = near(name, names, cutoff)
    *before, last = close or [""]
    return f"Did you mean {', '.join(before)}{' or ' if before else ''}{last}? " if close else ""


def did_you_mean_file(path: Path, pattern: str = "*") -> str:
    """The question about the files beside a path that is not there; "" if none is near."""
    try:
        beside = [each.name for each in itertools.islice(path.parent.glob(pattern), _MOST_FILES)]
    except OSError:
        return ""
    names = near(path.name, beside, _FILE_CUTOFF)
    return did_you_mean(str(path), [str(path.parent / name) for name in names], 0)
