"""A home of its own for each test, and the key of the fake endpoint."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fakes.openai_server import FAKE_KEY


@pytest.fixture(autouse=True)
def luthier_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("LUTHIER_HOME", str(home))
    monkeypatch.setenv("MAKING_KEY", FAKE_KEY)
    return home
