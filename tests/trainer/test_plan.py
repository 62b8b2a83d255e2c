"""Plans: arithmetic, and everything that is refused before a job is made."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.job import all_jobs
from jobs.luthier_error import LuthierError
from trainer import launch
from trainer.data import preview
from trainer.data.policies import Policies
from trainer.data.settings import Source
from trainer.data.split import Heldout
from trainer.evaluation.settings import Evaluation
from trainer.plan.compute import largest_divisor
from trainer.plan.plan import Plan, make_plan, step_count
from trainer.recipe import Recipe, Train


def row(number: int) -> dict[str, object]:
    return {
        "messages": [
            {"role": "user", "content": f"hi {number}"},
            {"role": "assistant", "content": "hello"},
        ]
    }


@pytest.fixture
def data(tmp_path: Path) -> Path:
    path = tmp_path / "data.jsonl"
    path.write_text("".join(json.dumps(row(number)) + "\n" for number in range(100)))
    return path


@pytest.fixture(autouse=True)
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LUTHIER_HOME", str(tmp_path / "home"))
    # no nvidia-smi: the plan is the same on every machine
    monkeypatch.setenv("PATH", str(tmp_path))
    folder = tmp_path / "base"
    folder.mkdir()
    for name in ("config.json", "model.safetensors", "tokenizer.json"):
        (folder / name).write_text("{}")
    return folder


def test_a_plan_adds_up(data: Path, model: Path) -> None:
    plan = make_plan(
        Recipe(data=[str(data)], model=str(model), train=Train(epochs=2.0, global_batch=12))
    )
    assert (plan.conversations, plan.heldout) == (100, 16)
    assert (plan.global_batch, plan.compute.micro_batch, plan.compute.accumulation) == (12, 6, 2)
    assert plan.steps == 2 * 7
    assert plan.slots == ["cpu"]
    assert plan.exact
    assert plan.formats[0]["format"] == "messages"
    assert "every row has `messages`" in plan.formats[0]["reason"]
    assert Plan.from_json(json.loads(json.dumps(plan.to_json()))) == plan


def test_a_plan_shows_what_the_policies_meet_and_minds_the_weights_of_files(
    data: Path, model: Path
) -> None:
    with data.open("a") as file:
        file.write(json.dumps(row(7)) + "\n" + json.dumps({"messages": []}) + "\n")
    recipe = Recipe(
        data=[Source(str(data), 2.0)],
        model=str(model),
        policy=Policies(mask="drop"),
        train=Train(epochs=1.0, global_batch=4),
    )
    plan = make_plan(recipe)
    assert plan.met == {"unreadable": 1, "no_turns": 1, "duplicates": 1}
    assert (plan.conversations, plan.steps) == (100, (200 - 16) // 4)
    assert {policy["name"] for policy in plan.policies if policy["changed"]} == {"mask"}


def test_of_much_data_the_plan_is_an_estimate(
    tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "much.jsonl"
    path.write_text("".join(json.dumps(row(number)) + "\n" for number in range(60_000)))
    monkeypatch.setattr(preview, "_SECONDS", 0.0)
    plan = make_plan(Recipe(data=[str(path)], model=str(model)))
    assert not plan.exact
    assert 50_000 <= plan.conversations <= 70_000


def test_a_data_set_of_the_hub_is_left_to_the_run(model: Path) -> None:
    plan = make_plan(Recipe(data=["hub:owner/name"], model=str(model)))
    assert (plan.exact, plan.conversations, plan.steps) == (False, 0, 0)


@pytest.mark.parametrize("settings", [Evaluation(patience=2), Evaluation(metrics=["chrf"])])
def test_what_needs_held_out_conversations_is_refused_where_there_will_be_none(
    tmp_path: Path, model: Path, settings: Evaluation
) -> None:
    path = tmp_path / "one.jsonl"
    path.write_text(json.dumps(row(1)) + "\n")
    for heldout in (Heldout(), Heldout(share=0.0, at_least=0, at_most=0)):
        with pytest.raises(LuthierError, match="needs them") as caught:
            make_plan(
                Recipe(data=[str(path)], model=str(model), evaluation=settings, heldout=heldout)
            )
        assert "leave" in caught.value.hint


def test_batches_that_do_not_divide_are_refused(data: Path, model: Path) -> None:
    with pytest.raises(LuthierError, match="not a multiple"):
        make_plan(
            Recipe(data=[str(data)], model=str(model), train=Train(global_batch=12, micro_batch=5))
        )


@given(st.integers(1, 5000), st.floats(0, 0.99), st.integers(0, 50), st.integers(0, 500))
def test_held_out_never_takes_more_than_a_quarter(
    count: int, share: float, at_least: int, at_most: int
) -> None:
    heldout = Heldout(share=share, at_least=at_least, at_most=at_most)
    assert 0 <= heldout.count(count) <= min(count // 4, at_most)


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
    ("", "bad.jsonl: the file is empty."),
    ("3\n[1]\n", "row 0: it is a number, not an object. 1 more row cannot be read either."),
    ('{"messages": [{"role": "user", "con', "row 0: "),
    ('{"messages": [}\n', "row 0: broken JSON"),
    ('{"id": 5}\n', "no known format"),
    (
        (
            '{"messages": [{"role": "user", "content": "x"}, {"role": "robot", "content": "x"},'
            ' {"role": "assistant", "content": "x"}]}\n'
        ),
        "the only row: a role other than system",
    ),
    (
        '{"messages": [{"role": "user", "content": "x"}]}\n',
        "the only row: no answer that can be trained",
    ),
]


@pytest.mark.parametrize(("content", "reason"), BAD_DATA)
def test_bad_data_is_told_by_line_and_leaves_no_job(
    tmp_path: Path, model: Path, content: str, reason: str
) -> None:
    path = tmp_path / "bad.jsonl"
    path.write_text(content)
    with pytest.raises(LuthierError) as caught:
        launch.train(Recipe(data=[str(path)], model=str(model)))
    assert str(path) in caught.value.message or caught.value.title == "Nothing to train on"
    assert reason in caught.value.message
    assert not all_jobs()


def test_bytes_that_are_no_text(tmp_path: Path, model: Path) -> None:
    path = tmp_path / "bad.jsonl"
    path.write_bytes(b'{"messages": [{"role": "user", "content": "\xff"}]}\n')
    with pytest.raises(LuthierError, match="byte"):
        make_plan(Recipe(data=[str(path)], model=str(model)))


def test_no_such_data_or_model(tmp_path: Path, data: Path, model: Path) -> None:
    for recipe in (
        Recipe(data=[str(tmp_path / "nix")], model=str(model)),
        Recipe(data=[str(data)], model="nix"),
    ):
        with pytest.raises(LuthierError, match="nix"):
            launch.train(recipe)
    (model / "model.safetensors").unlink()
    with pytest.raises(LuthierError, match="safetensors"):
        launch.train(Recipe(data=[str(data)], model=str(model)))
    assert not all_jobs()
