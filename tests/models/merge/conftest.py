"""Most of these tests load torch or PEFT: the fast tier does not even read their files."""

from __future__ import annotations

from pathlib import Path

import pytest

_LIGHT = "test_plan.py"


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    heavy = collection_path.name.startswith("test_") and collection_path.name != _LIGHT
    return True if heavy and "not real" in str(config.getoption("markexpr")) else None
