"""`luthier models` on the command line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from jobs.home import models_directory
from jobs.job import Job
from jobs.luthier_error import LuthierError
from tests.models.registry.made import model_folder, run_of
from tests.tui.certificates import certified
from tests.tui.test_models_screen import broken_off
from tui.commands.models import models


def run(*arguments: str, answer: str = "") -> Result:
    return CliRunner().invoke(models, arguments, input=answer)


def told(*arguments: str) -> Any:
    """What it prints with --json."""
    result = run(*arguments, "--json")
    assert result.exception is None, result.exception
    return json.loads(result.stdout)


@pytest.fixture
def captain(home: Path) -> Job:
    return run_of(model_folder(models_directory() / "small", licence="mit"))


def test_list(captain: Job) -> None:
    broken_off("large")
    certified(captain)
    result = run()
    assert result.exception is None
    rows = {line.split()[1]: line.split() for line in result.stdout.splitlines()}
    assert rows["small"][0] == "base" and rows["captain"][:4] == ["tuned", "captain", "small", "80"]
    assert "luthier" not in result.stdout  # what is not whole or not prepared is told on stderr
    found = {entry["name"]: entry for entry in told("list")}
    assert found["small"]["licence"] == "mit" and found["small"]["template"]["family"] == "ChatML"
    assert found[captain.id]["certificate"]["verdict"] == "green"


def test_show_and_path(captain: Job) -> None:
    text = run("show", "small").stdout
    assert all(
        word in text
        for word in ("base model", "mit", "ChatML", "captain (run)", "put there by hand")
    )
    shown = told("show", "captain")
    assert (shown["base"], shown["rank"], shown["run"], shown["used_by"]) == (
        "small",
        4,
        captain.id,
        [],
    )
    assert run("path", "small").stdout.strip() == str(models_directory() / "small")
    assert run("path", "captain").stdout.strip() == str(captain.directory / "adapter")
    assert "No such model" in str(run("show", "nobody").exception)


def test_a_link_and_forgetting_it(home: Path, tmp_path: Path) -> None:
    elsewhere = model_folder(tmp_path / "elsewhere")
    assert told("import", str(elsewhere), "--link", "--name", "mine") == {
        "path": str(models_directory() / "mine"),
        "name": "mine",
    }
    assert "The name is taken" in str(
        run("import", str(elsewhere), "--link", "--name", "mine").exception
    )
    assert run("remove", "mine", "--yes").exception is None
    assert elsewhere.is_dir() and not (models_directory() / "mine").exists()


def test_removing_says_what_needs_it_and_asks(
    captain: Job, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("remove", "small", answer="n\n").exit_code == 1
    assert (models_directory() / "small").is_dir()
    assert told("remove", "small", "--yes")["used_by"][0]["id"] == captain.id
    assert not (models_directory() / "small").exists()
    assert "It belongs to a run" in str(run("remove", "captain", "--yes").exception)
    broken_off("large")
    assert told("remove", "large", "--yes")["removed"] == "large"


def test_what_cannot_be_given_away_is_told_before_a_job_is_made(
    captain: Job, home: Path, tmp_path: Path
) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").write_text("")
    for arguments, title in (
        (("export", "nobody", "--out", str(tmp_path / "out")), "No such model"),
        (("export", "captain", "--out", str(tmp_path / "full")), "Something is already there"),
        (
            ("export", "captain", "--out", str(tmp_path / "out"), "--what", "merged"),
            "Not merged yet",
        ),
        (
            ("export", "small", "--out", str(tmp_path / "out.gguf"), "--as", "gguf:q4"),
            "Unknown export format",
        ),
        (("push", "captain", "no-owner"), "Not a repository's name"),
        (("import", "hub:a/b", "--trust", "c/d"), "--trust needs the repository's own name"),
    ):
        error = run(*arguments).exception
        assert isinstance(error, LuthierError) and error.title == title, (arguments, error)
    assert [job.name for job in (home / "jobs").iterdir()] == [captain.id]
