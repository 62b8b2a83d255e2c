"""`luthier data` over looks made by hand; that the worker makes them so is
tests/trainer/data/test_look.py's business."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from jobs.job import Job
from jobs.luthier_error import LuthierError
from tests.tui import data_folders, folders
from trainer.recipe import Recipe
from tui.commands import data as command
from tui.commands.data import recipe_of


@pytest.fixture
def source(home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file, of which `start` makes the look that was made by hand."""
    path = home / "pirates.jsonl"
    path.write_text("{}\n")
    monkeypatch.setattr(command, "start", lambda recipe: data_folders.finished())
    monkeypatch.setattr(command, "prepare_model", lambda recipe: None)
    return path


def run(*arguments: str) -> Result:
    return CliRunner().invoke(command.data, arguments)


def jobs_of(home: Path) -> list[Path]:
    return list((home / "jobs").iterdir())


def test_check_prints_format_ledger_reasons_and_lengths(source: Path, home: Path) -> None:
    result = run("check", str(source))
    text = " ".join(result.stdout.split())
    assert result.exit_code == 0
    assert (
        "format sharegpt every row has `conversations` whose items have `from` and `value`:"
        " ShareGPT" in text
    )
    assert "✗ dropped 3 0 0 1.2 %" in text and "all 240" in text
    assert "unreadable dropped 2 20, 29" in text
    assert "longest 2,301 of 2,048 tokens" in text and "warn reasoning" in text
    assert jobs_of(home) == []


def test_check_as_json_adds_up(source: Path) -> None:
    whole = json.loads(run("check", str(source), "--json").stdout)
    assert whole["rows"] == sum(amount["rows"] for amount in whole["states"].values()) == 240
    assert whole["tokens"] == sum(amount["tokens"] for amount in whole["states"].values())
    assert whole["lost"] == sum(amount["lost"] for amount in whole["states"].values())
    assert whole["leaks"] == {"moved": 3, "reported": 0}
    assert whole["formats"][0]["mapping"]["columns"]["role"] == "from"


def test_show_marks_tokens_without_colours(source: Path) -> None:
    result = run("show", str(source), "--row", "1")
    assert "row 1: ✓ kept" in result.stdout
    assert (
        "▸x0.5 Aye, hard tack and salted beef,↵\nand a lime for yer teeth. Fair winds!<|im_end|>■↵"
        in result.stdout
    )
    assert "52 of 108 tokens are trained" in " ".join(result.stderr.split())


def test_show_without_a_row_takes_the_first_that_is_trained_and_ids_are_one_option_away(
    source: Path,
) -> None:
    assert "row 0: ✓ kept" in run("show", str(source)).stdout
    lines = run("show", str(source), "--ids").stdout.splitlines()
    assert any("■ stop" in line and '"<|im_end|>"' in line for line in lines)


def test_show_as_json_has_each_token_with_its_class(source: Path) -> None:
    whole = json.loads(run("show", str(source), "--row", "11", "--json").stdout)
    assert (whole["state"], whole["reasons"], len(whole["samples"])) == ("split", ["too_long"], 2)
    for sample in whole["samples"]:
        assert [token["id"] for token in sample["tokens"]] == sample["input_ids"]
        for token, label in zip(sample["tokens"], sample["labels"], strict=True):
            assert (token["class"] == "untrained") == (label == -100)


def test_show_of_a_dropped_row_shows_the_row_and_why(source: Path) -> None:
    text = run("show", str(source), "--row", "7").stdout
    assert "✗ dropped (near_duplicates)" in text and "like row 2" in text and '"row 7"' in text


def test_show_of_a_row_that_is_not_there(source: Path, home: Path) -> None:
    error = run("show", str(source), "--row", "999").exception
    assert isinstance(error, LuthierError) and "no row 999: it has 240" in error.message
    assert jobs_of(home) == []


def test_tokens_writes_the_exact_samples(source: Path, tmp_path: Path) -> None:
    target = tmp_path / "samples.jsonl"
    result = run("tokens", str(source), "--out", str(target), "--json")
    records: list[dict[str, Any]] = [json.loads(line) for line in target.read_text().splitlines()]
    assert json.loads(result.stdout) == {"path": str(target), "samples": len(records)}
    assert len(records) == 238
    assert (
        list(records[0]) == ["source", "turns", "input_ids", "labels"]
        and list(records[1])[-1] == "weights"
    )
    assert records[0]["source"] == {"file": data_folders.SOURCE, "row": 0}
    assert not list(tmp_path.glob(".*partial"))


def test_tokens_says_early_that_it_cannot_write(source: Path, home: Path) -> None:
    error = run("tokens", str(source), "--out", "/no/such/folder/x.jsonl").exception
    assert isinstance(error, LuthierError) and error.title == "No such folder"
    assert not (home / "jobs").exists()


def failed() -> Job:
    job = data_folders.running()
    said = {
        "title": "Some rows need a decision",
        "message": "row 3: two users.",
        "hint": "policy.consecutive",
    }
    folders.write(
        job,
        folders.event("error", 20, **said),
        folders.event("exited", 19, code=1, stopped=False, swept=0),
    )
    return job


def test_a_policy_that_says_stop_is_an_error(
    source: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command, "start", lambda recipe: failed())
    error = run("check", str(source)).exception
    # the command line makes it exit status 1
    assert isinstance(error, LuthierError) and error.title == "Some rows need a decision"
    assert jobs_of(home) == []


def test_what_a_policy_stops_is_accounted_for_before_the_error(
    source: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(command, "start", lambda recipe: data_folders.refused())
    plain, as_json = run("check", str(source)), run("check", str(source), "--json")
    for result in (plain, as_json):
        # exit status 1
        assert (
            isinstance(result.exception, LuthierError)
            and result.exception.title == "Some rows need a decision"
        )
    assert "all 240" in " ".join(plain.stdout.split())
    whole = json.loads(as_json.stdout)
    assert (whole["rows"], whole["error"]["title"]) == (240, "Some rows need a decision")
    assert whole["stops"] == [
        {
            "policy": "unreadable",
            "rows": 2,
            "file": data_folders.SOURCE,
            "row": 20,
            "detail": "the row has no turns",
        }
    ]
    written = run("tokens", str(source), "--out", str(tmp_path / "samples.jsonl"))
    assert isinstance(written.exception, LuthierError) and not (tmp_path / "samples.jsonl").exists()
    assert "row 20: ✗ dropped" in run("show", str(source), "--row", "20").stdout


@pytest.mark.parametrize(
    ("leaks", "text"),
    [
        ({}, ""),
        ({"moved": 0, "reported": 0}, ""),
        (
            {"moved": 1, "reported": 0},
            "1 conversation is trained instead of held out, because it nearly equals another one.",
        ),
        ({"moved": 0, "reported": 3}, "3 held-out conversations nearly equal another one."),
    ],
)
def test_leaks_are_told_as_the_recipe_has_them_treated(leaks: dict[str, int], text: str) -> None:
    assert command.leaks_text(leaks) == text


def test_ctrl_c_stops_the_job_and_takes_it_away(
    source: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(job: Job, title: str, until: Callable[..., bool]) -> None:
        raise KeyboardInterrupt

    stopped: list[str] = []
    monkeypatch.setattr(command, "follow_job", interrupted)
    monkeypatch.setattr(command, "stop", lambda job: stopped.append(job.id))
    # click's own runner; `luthier` itself exits with 130
    assert run("check", str(source)).exit_code == 1
    assert len(stopped) == 1 and jobs_of(home) == []


def test_what_can_be_looked_at(tmp_path: Path) -> None:
    path = tmp_path / "recipe.toml"
    path.write_text('data = ["a.jsonl"]\nmodel = "builtin"\n')
    assert recipe_of(str(path), None).sources[0].path == str(tmp_path / "a.jsonl")
    assert recipe_of(str(path), "other").model == "other"
    assert recipe_of("hub:owner/name", None).sources[0].path == "hub:owner/name"
    with pytest.raises(LuthierError, match=r"no data file, only other files such as recipe\.toml"):
        recipe_of(str(tmp_path), None)
    (tmp_path / "a.jsonl").touch()
    assert isinstance(recipe_of(str(tmp_path), None), Recipe)
    with pytest.raises(LuthierError, match="hub:owner/name/config:split"):
        recipe_of("hub:name", None)
    with pytest.raises(LuthierError, match="No such data"):
        recipe_of(str(tmp_path / "none.jsonl"), None)
