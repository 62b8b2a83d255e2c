"""A home of each test's own, and a hub that the real client talks to."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fakes.hub import HubServer, hub
from tests.models.registry.made import at_home


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return at_home(tmp_path, monkeypatch)


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    """Waits between tries are not awaited; what was told to the hub elsewhere (tokens, caches) is
    not looked at."""
    from huggingface_hub import constants

    import models.hub

    really = time.sleep
    monkeypatch.setattr(time, "sleep", lambda seconds: really(min(seconds, 0.01)))
    monkeypatch.setattr(models.hub, "WAITS", (0.01,) * 5)
    # Xet's own protocol is not the stand-in's
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "token"))
    monkeypatch.delenv("HF_TOKEN", raising=False)
    with hub({}) as running:
        running.tokens = {"hf_writer": "write", "hf_reader": "read"}
        monkeypatch.setenv("HF_ENDPOINT", running.url)
        yield running
