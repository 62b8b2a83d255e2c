"""Tests of a tier that is not asked for are not even imported, and the garbage collector leaves alone what was."""

from __future__ import annotations

import gc
import re
from pathlib import Path

import pytest

_WHOLE_FILE = re.compile(r"^pytestmark = .*\bmark\.(real|gpu)\b", re.MULTILINE)


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Of the fast tests' processes, each would load torch for files of which it runs nothing; and the other way around."""
    if not re.fullmatch(r"test_\w+\.py", collection_path.name):
        return None
    if "not real" in config.option.markexpr:
        return _WHOLE_FILE.search(collection_path.read_text()) is not None or None
    if config.option.markexpr == "real":
        return "mark.real" not in collection_path.read_text() or None
    return None


def pytest_collection_finish() -> None:
    """A fifth of the screens' time went into looking through modules for garbage."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)
