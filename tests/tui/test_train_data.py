"""A run without a recipe: data and the defaults."""

from __future__ import annotations

import gzip
import json
import shlex
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from jobs.home import models_directory
from jobs.job import all_jobs
from jobs.luthier_error import LuthierError
from models.run_folder import RECIPE_FILE
from tests.trainer.shapes import llama
from trainer import launch
from trainer.data_recipe import is_data, name_of_data
from trainer.launch import frozen_recipe
from trainer.plan import plan, repair
from trainer.plan.memory import cards
from trainer.sweep import load_runs
from tui.cli import luthier
from tui.commands.events import outcome_text

ROW = json.dumps(
    {
        "messages": [
            {"role": "user", "content": "What is a verb?"},
            {"role": "assistant", "content": "A word of doing."},
        ]
    }
)
DATA = "".join(ROW.replace("verb", f"verb {number}") + "\n" for number in range(80))


@pytest.fixture
def folder(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder of a machine without a GPU, on which no run starts."""
    for module in (plan, repair, cards):
        monkeypatch.setattr(module, "gpus", list)
    monkeypatch.setattr("trainer.plan.engines.installed", lambda: {"trl"})
    monkeypatch.setattr(launch, "start", lambda job: None)
    llama(models_directory() / "llama-8b")
    working = tmp_path / "working"
    working.mkdir()
    monkeypatch.chdir(working)
    (working / "mine.jsonl").write_text(DATA)
    return working


def call(*arguments: str) -> Result:
    return CliRunner().invoke(luthier, arguments)


def test_a_data_file_is_trained_with_the_defaults_which_are_told(folder: Path) -> None:
    for _ in range(2):
        answer = call("train", "mine.jsonl", "--model", "llama-8b")
        assert answer.exit_code == 0, answer.output
    for part in (
        "Training on mine.jsonl with the defaults:",
        "llama-8b",
        "80 conversations, 16 of them held out",
        "mine.jsonl: ",
        "3 epochs, 12 steps, learning rate",
        "--set train.epochs=1. A recipe to change: luthier plan mine.jsonl --save mine.toml, then",
    ):
        assert part in " ".join(answer.stderr.split())
    first, second = all_jobs("run")
    assert first.id != second.id and {first.spec.name, second.spec.name} == {"mine"}
    assert answer.stdout.strip() in {first.id, second.id}
    frozen = (first.directory / RECIPE_FILE).read_text()
    assert str(folder / "mine.jsonl") in frozen and 'model = "llama-8b"' in frozen


def test_a_plan_of_data_is_shown_and_saved_as_a_recipe(folder: Path) -> None:
    answer = call("plan", "mine.jsonl", "--model", "llama-8b", "--save", "mine.toml")
    assert answer.exit_code == 0 and "80 conversations" in answer.stdout
    asked = load_runs(folder / "mine.toml")
    assert (asked.name, asked.model) == ("mine", "llama-8b")  # type: ignore[union-attr]
    assert asked.data == [str(folder / "mine.jsonl")]  # type: ignore[union-attr]
    again = call("plan", "mine.jsonl", "--save", "mine.toml")
    assert isinstance(again.exception, LuthierError) and "mine.toml" in again.exception.message
    for wrong, told in (
        (("plan", "mine.toml", "--save", "other.toml"), "mine.toml is already a recipe"),
        (("plan", "mine.toml", "--model", "builtin"), "mine.toml is a recipe"),
        (("train", "--again", "x", "--model", "builtin"), "--model does not go with --again"),
        (("train", "--again", "x", "--set", "lora.r=2"), "--set does not go with --again"),
        (
            ("plan", "mine.toml", "--set", "lora.r=2", "--emit", "slurm"),
            "--emit needs a recipe file",
        ),
        (("plan", "mine.jsonl", "--emit", "slurm"), "--emit needs a recipe file"),
    ):
        answer = call(*wrong)
        assert answer.exit_code == 2 and told in answer.output


def test_single_settings_are_changed_beside_data_and_beside_a_recipe(folder: Path) -> None:
    changes = ("--set", "train.epochs=1", "--set", "name=short")
    answer = call("train", "mine.jsonl", "--model", "llama-8b", *changes)
    assert answer.exit_code == 0, answer.output
    assert "with the defaults and train.epochs=1, name=short:" in " ".join(answer.stderr.split())
    (folder / "mine.toml").write_text(
        'data = "mine.jsonl"\nmodel = "llama-8b"\n[train]\nepochs = 4\n'
    )
    assert call("train", "mine.toml", "--set", "lora.r=2").exit_code == 0
    runs = {run.name: run for run in map(frozen_recipe, all_jobs("run"))}
    assert (runs["short"].train.epochs, runs["short"].model) == (1, "llama-8b")
    assert (runs["mine"].train.epochs, runs["mine"].lora.r) == (4, 2)
    sweep = call("plan", "mine.toml", "--set", "lora.r=[2, 4]")
    assert "A sweep of 2 runs: lora.r 2, 4" in sweep.output
    call("plan", "mine.jsonl", "--set", "lora.r=2", "--save", "saved.toml")
    assert "[lora]\nr = 2" in (folder / "saved.toml").read_text()
    for change, words in (
        ("lora.s=2", "no key 'lora.s'"),
        ("lora.r=x", "lora.r"),
        ("lora.r", "KEY="),
    ):
        error = call("plan", "mine.toml", "--set", change).exception
        assert isinstance(error, LuthierError) and words in error.message


def test_refused_data_are_read_with_the_options_that_the_error_names(folder: Path) -> None:
    row = {"customer_says": "Where is it?", "our_reply": "There, isn't it?"}
    rows = "".join(json.dumps({**row, "id": number}) + "\n" for number in range(80))
    (folder / "my shop.jsonl").write_text(f"{rows}{{")
    command = "luthier train 'my shop.jsonl' --model llama-8b"
    for _ in range(2):  # what the columns are; then the row that is cut off
        error = call(*shlex.split(command)[1:]).exception
        assert isinstance(error, LuthierError)
        command = error.hint.rpartition("On the command line: ")[2]
    answer = call(*shlex.split(command)[1:])
    assert answer.exit_code == 0, answer.output
    recipe = frozen_recipe(all_jobs("run")[0])
    assert (recipe.model, recipe.policy.damage) == ("llama-8b", "drop")
    assert recipe.format.columns == {"prompt": "customer_says", "completion": "our_reply"}


def test_what_is_data_and_what_is_a_recipe(folder: Path) -> None:
    (folder / "mine.jsonl.gz").write_bytes(gzip.compress(DATA.encode()))
    (folder / "mine.txt").write_text(DATA)
    (folder / "list.json").write_text(f"[{ROW}]")
    (folder / "rows.json").write_text(ROW)
    (folder / "mine.csv").write_text("question,answer\na,b\n")
    (folder / "talks").mkdir()
    (folder / "talks" / "a.jsonl").write_text(DATA)
    (folder / "both").mkdir()
    (folder / "both" / "a.toml").write_text('data = "a.jsonl"\n')
    (folder / "recipe.txt").write_text('data = ["mine.jsonl"]\n')
    (folder / "other.json").write_text('{"num_train_epochs": 3, "per_device_train_batch_size": 2}')
    data = ("mine.jsonl", "mine.jsonl.gz", "mine.txt", "list.json", "rows.json", "mine.csv")
    for name in (*data, "talks", "hub:owner/name"):
        assert is_data(Path(name)), name
    for name in ("both", "recipe.txt", "other.json", "absent.toml", "absent"):
        assert not is_data(Path(name)), name
    assert [name_of_data(Path(name)) for name in ("a/mine.jsonl.gz", "talks", "hub:o/n:test")] == [
        "mine",
        "talks",
        "n",
    ]


@pytest.mark.parametrize(
    ("name", "text", "message", "hint"),
    [
        ("prose.txt", "Dear diary.\n", "is neither a recipe (TOML) nor a data file", "JSON Lines"),
        ("talk.txt", "User: hi\nAssistant: hello\n", "turns in lines of roles", "JSON Lines"),
        ("mime.jsonl", None, "mime.jsonl does not exist", "Did you mean mine.jsonl?"),
        (
            "absent.csv",
            None,
            "absent.csv does not exist",
            "a folder of data files, or hub:owner/name",
        ),
    ],
)
def test_what_is_neither_is_refused_in_plain_words(
    folder: Path, name: str, text: str | None, message: str, hint: str
) -> None:
    if text is not None:
        (folder / name).write_text(text)
    error = call("train", name).exception
    assert isinstance(error, LuthierError)
    assert message in error.message and hint in error.hint


def test_one_file_needs_no_brackets(folder: Path) -> None:
    (folder / "a.toml").write_text('data = "mine.jsonl"\n')
    assert load_runs(folder / "a.toml").data == [str(folder / "mine.jsonl")]  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("result", "text"),
    [
        (
            {"loss": 2.9661, "eval_loss": 3.0769, "steps": 6, "seconds": 60.9},
            "eval loss 3.077, loss 2.966 after 6 steps in 1 m 01 s",
        ),
        (
            {"loss": 2.9661, "eval_loss": None, "steps": 6, "seconds": 60.9},
            "loss 2.966 after 6 steps in 1 m 01 s",
        ),
    ],
)
def test_each_loss_of_a_finished_run_has_its_own_name(result: dict[str, Any], text: str) -> None:
    assert outcome_text(result) == text
