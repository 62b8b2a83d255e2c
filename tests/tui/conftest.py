"""A home of its own for each test, a clock that stands still, and no animations."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

from tui.shared.glyphs import use_ascii

os.environ["TEXTUAL_ANIMATIONS"] = "none"  # before textual is imported

import pytest

from jobs.home import jobs_directory, models_directory
from jobs.job import Job
from jobs.machine import Machine, Meter
from tests.tui import folders, stylesheets
from tests.tui.lock_holder import held
from tui import themes
from tui.app import LuthierApp
from tui.models import facts
from workshop import number_format


@pytest.fixture(autouse=True, scope="session")
def css_is_parsed_once() -> Iterator[None]:
    with stylesheets.parsed_once():
        yield


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LUTHIER_HOME", str(tmp_path))
    use_ascii(False)  # an app that a test before this one has made may have chosen it
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setattr(number_format, "now", lambda: folders.NOW)
    monkeypatch.setattr(LuthierApp, "POLL_SECONDS", 3600.0)  # tests say when to look
    monkeypatch.setattr("tui.serve.facts.key_file", lambda: Path("/home/luthier/keys/client"))
    monkeypatch.setattr(
        facts, "homely", lambda path: f"/home/luthier/{path.parent.name}/{path.name}"
    )
    machine = Machine(2.0, 0.4, 7_100_000_000, 25_300_000_000, 40 << 30, 120 << 30, 0.5)
    monkeypatch.setattr(Meter, "read", lambda meter: machine)
    monkeypatch.setattr(
        themes, "first_theme", lambda available, is_light, colours: themes.DEFAULT_THEME
    )
    return tmp_path


@pytest.fixture(scope="session")
def home_of_all_states(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """A home to copy, with a ready base model and a job in each state, and the jobs' names."""
    directory = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LUTHIER_HOME", str(directory))
        folders.base_model(models_directory() / "builtin")
        return directory, list(folders.all_states())


@pytest.fixture
def jobs_by_name(
    home: Path, home_of_all_states: tuple[Path, list[str]]
) -> Iterator[dict[str, Job]]:
    """A job in each state, a ready base model and a running server."""
    directory, names = home_of_all_states
    shutil.copytree(directory, home, dirs_exist_ok=True)
    jobs = {name: Job(next(jobs_directory().glob(f"*-????-{name}-00ff"))) for name in names}
    with held(*(jobs[name] for name in folders.LIVING)):
        yield jobs


@pytest.fixture
def made_events(jobs_by_name: dict[str, Job]) -> Path:
    """The events of a run with evaluations and checkpoints."""
    return jobs_by_name["pirate"].events_path
