"""A web server of Luthier in a process of its own, over a home of its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import pytest

LUTHIER = [sys.executable, "-P", "-m", "tui.cli"]
ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Web:
    """`luthier web`, as it has said of itself."""

    process: subprocess.Popen[str]
    url: str
    """With the token."""

    @property
    def origin(self) -> str:
        return f"http://{urlsplit(self.url).netloc}"

    def stop(self) -> tuple[str, str]:
        """What it said on stdout and stderr until its end."""
        self.process.send_signal(signal.SIGINT)
        return self.process.communicate(timeout=20)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "home"
    monkeypatch.setenv("LUTHIER_HOME", str(folder))
    monkeypatch.setenv("TEXTUAL_ANIMATIONS", "none")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.delenv("NO_COLOR", raising=False)
    return folder


@contextmanager
def serving(*arguments: str) -> Iterator[Web]:
    process = subprocess.Popen(
        [*LUTHIER, "web", "--json", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ,
    )
    try:
        assert process.stdout is not None
        lines = iter(process.stdout.readline, "")
        said = ""
        for line in lines:
            said += line
            if line.startswith("}"):
                break
        yield Web(process, json.loads(said)["url"])
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


@pytest.fixture
def web(home: Path) -> Iterator[Web]:
    with serving() as running:
        yield running
