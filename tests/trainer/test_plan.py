"""Plans: arithmetic, and everything that is refused before a job is made."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.errors import LuthierError
from jobs.job import all_jobs
from trainer import launch
from trainer.plan import heldout_count, largest_divisor, make_plan, step_count
from trainer.recipe import Heldout, Recipe, Train

ROW = {"messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "hello"}]}


@pytest.fixture
def data(tmp_path: Path) -> Path:
    path = tmp_path / "data.jsonl"
    path.write_text("".join(json.dumps(ROW) + "\n" for _ in range(100)))
    return path


@pytest.fixture(autouse=True)
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LUTHIER_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("PATH", str(tmp_path))  # no nvidia-smi: the plan is the same on every machine
    folder = tmp_path / "base"
    folder.mkdir()
    for name in ("config.json", "model.safetensors", "tokenizer.json"):
        (folder / name).write_text("{}")
    return folder


def test_a_plan_adds_up(data: Path, model: Path) -> None:
    plan = make_plan(Recipe(data=[str(data)], model=str(model), train=Train(epochs=2.0, global_batch=12)))
    assert (plan.conversations, plan.heldout) == (100, 16)
    assert (plan.global_batch, plan.micro_batch, plan.accumulation) == (12, 6, 2)
    assert plan.steps == 2 * 7
    assert plan.slots == ["cpu"]


def test_batches_that_do_not_divide_are_refused(data: Path, model: Path) -> None:
    with pytest.raises(LuthierError, match="no multiple"):
        make_plan(Recipe(data=[str(data)], model=str(model), train=Train(global_batch=12, micro_batch=5)))


@given(st.integers(1, 5000), st.floats(0, 0.99), st.integers(0, 50), st.integers(0, 500))
def test_held_out_never_takes_more_than_a_quarter(count: int, share: float, at_least: int, at_most: int) -> None:
    recipe = Recipe(data=["x"], heldout=Heldout(share=share, at_least=at_least, at_most=at_most))
    assert 0 <= heldout_count(recipe, count) <= min(count // 4, at_most)


@given(st.integers(1, 4096), st.integers(1, 64))
def test_the_micro_batch_divides_the_global_batch(number: int, limit: int) -> None:
    size = largest_divisor(number, limit)
    assert number % size == 0
    assert 1 <= size <= limit


def test_steps_round_up() -> None:
    assert step_count(120, 8, 2.0) == 30
    assert step_count(121, 8, 1.0) == 16
    assert step_count(1, 8, 0.1) == 1


BAD_DATA = [
    ("", "has no row"),
    ('{"messages": [{"role": "user", "con', "line 1: the line ends in the middle"),
    ('{"messages": [}\n', "line 1: Expecting value at column 15"),
    ("[]\n", "no `messages` list"),
    ('{"messages": [{"role": "robot", "content": "x"}]}\n', "role 'robot'"),
    ('{"messages": [{"role": "user", "content": 5}]}\n', "int as content"),
    ('{"messages": [{"role": "user", "content": "x"}]}\n', "no assistant message"),
    ('{"messages": [{"role": "assistant", "content": "x", "wieght": 0}]}\n', "has wieght"),
]


@pytest.mark.parametrize(("content", "reason"), BAD_DATA)
def test_bad_data_is_told_by_line_and_leaves_no_job(tmp_path: Path, model: Path, content: str, reason: str) -> None:
    path = tmp_path / "bad.jsonl"
    path.write_text(content)
    with pytest.raises(LuthierError) as caught:
        launch.train(Recipe(data=[str(path)], model=str(model)))
    assert str(path) in caught.value.message
    assert reason in caught.value.message
    assert not all_jobs()


def test_bytes_that_are_no_text(tmp_path: Path, model: Path) -> None:
    path = tmp_path / "bad.jsonl"
    path.write_bytes(b'{"messages": [{"role": "user", "content": "\xff"}]}\n')
    with pytest.raises(LuthierError, match="byte 43"):
        make_plan(Recipe(data=[str(path)], model=str(model)))


def test_no_such_data_or_model(tmp_path: Path, data: Path, model: Path) -> None:
    for recipe in (Recipe(data=[str(tmp_path / "nix")], model=str(model)), Recipe(data=[str(data)], model="nix")):
        with pytest.raises(LuthierError, match="nix"):
            launch.train(recipe)
    (model / "model.safetensors").unlink()
    with pytest.raises(LuthierError, match="safetensors"):
        launch.train(Recipe(data=[str(data)], model=str(model)))
    assert not all_jobs()
