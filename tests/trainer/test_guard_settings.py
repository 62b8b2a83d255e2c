"""The recipe's section [guard]: who writes it has a guard follow the run."""

from __future__ import annotations

from pathlib import Path

import pytest

from jobs.job import create
from jobs.luthier_error import LuthierError
from jobs.spec import Spec
from trainer.guard_settings import Guard
from trainer.recipe import load, parse, placed, to_toml


def written(folder: Path, guard: str) -> Path:
    path = folder / "mine.toml"
    path.write_text(f'data = "d.jsonl"\n{guard}')
    return path


def test_the_section_has_a_guard_follow_the_run_and_a_copy_keeps_that(tmp_path: Path) -> None:
    without = load(written(tmp_path, ""))
    assert not without.guard.after_run
    assert not parse(to_toml(without), "copy").guard.after_run
    text = '[guard]\nonly = ["facts"]\nat_most_lower = {facts = 3}\nprobes = ["own.jsonl"]\n'
    recipe = load(written(tmp_path, text))
    assert recipe.guard.after_run and recipe.guard.at_most_lower == {"facts": 3.0}
    assert recipe.guard.probes == [str(tmp_path / "own.jsonl")]
    assert placed(parse(to_toml(recipe), "copy"), tmp_path / "x", has_name=True) == recipe
    assert not load(written(tmp_path, "[guard]\nafter_run = false\n")).guard.after_run


@pytest.mark.parametrize(
    ("guard", "words"),
    [
        ("at_most_lower = {fact = 3}", "fact, but.*\\n.*facts"),
        ("at_most_lower = {facts = 300}", "guard.at_most_lower"),
        ("at_most = {facts = 3}", "unknown key guard.at_most"),
        ('probes = ["nowhere.jsonl"]', "nowhere.jsonl"),
        ("text_loss = -1", "guard.text_loss"),
        ('only = ["facts", "fact"]', "guard.only names fact, but.*\\n.*facts"),
    ],
)
def test_what_is_wrong_is_said_before_the_run(tmp_path: Path, guard: str, words: str) -> None:
    with pytest.raises(LuthierError) as caught:
        load(written(tmp_path, f"[guard]\n{guard}\n")).check()
    text = str(caught.value)
    first, _, end = words.partition(".*\\n.*")
    assert first in text and end in text


def test_the_run_that_takes_the_bases_place_is_settled_before_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LUTHIER_HOME", str(tmp_path / "home"))
    for model in ("one", "two"):
        (tmp_path / model).mkdir()
        (tmp_path / model / "config.json").write_text("{}")
        (tmp_path / model / "model.safetensors").write_bytes(b"")
        (tmp_path / model / "tokenizer.json").write_text("{}")
    first, second = str(tmp_path / "one"), str(tmp_path / "two")
    settings = {"model": first, "model_directory": first}
    job = create(Spec("run", "captain", "trainer.worker", settings=settings))
    guard = Guard(against="captain")
    with pytest.raises(LuthierError, match="Nothing to ask"):
        guard.settled(first)
    (job.directory / "adapter").mkdir()
    (job.directory / "adapter/adapter_config.json").write_text("{}")
    (job.directory / "adapter/adapter_model.safetensors").write_bytes(b"")
    settled = guard.settled(first)
    assert settled.against == job.id
    assert settled.settings["against"] == str(job.directory)
    with pytest.raises(LuthierError, match="Another base model"):
        guard.settled(second)
    with pytest.raises(LuthierError, match="nobody"):
        Guard(against="nobody").settled(first)
    assert Guard(against="base").settled(first).settings["against"] == ""
