"""The system prompt that a run's data has."""

from __future__ import annotations

from pathlib import Path

import pytest

from jobs.home import models_directory
from models.runs import Run
from tests.models.registry.made import model_folder, run_of
from tests.tui.folders import samples


@pytest.mark.parametrize(
    ("systems", "prompt"),
    [
        (("Be brief.", "Be brief."), "Be brief."),
        (("Be brief.", "Be long."), ""),
        (("Be brief.", ""), ""),
        (("", ""), ""),
    ],
)
def test_it_is_the_one_that_all_conversations_have(
    home: Path, systems: tuple[str, ...], prompt: str
) -> None:
    run = run_of(model_folder(models_directory() / "small"))
    samples(run, *systems)
    assert Run(run).system_prompt == prompt


def test_damaged_or_missing_data_has_none(home: Path) -> None:
    run = run_of(model_folder(models_directory() / "small"))
    assert Run(run).system_prompt == ""  # its lines are no conversations
    (run.directory / "data" / "heldout.jsonl").unlink()
    assert Run(run).system_prompt == ""


def test_without_held_out_conversations_the_trained_ones_say_it(home: Path) -> None:
    run = run_of(model_folder(models_directory() / "small"))
    samples(run, "Be brief.")
    data = run.directory / "data"
    (data / "heldout.jsonl").rename(data / "train.jsonl")
    (data / "heldout.jsonl").write_text("")
    assert Run(run).system_prompt == "Be brief."
