"""Sweeps: lists where one value is meant, what the runs are called, what is refused, and how their
outcomes compare."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from jobs.job import Job, all_jobs
from jobs.luthier_error import LuthierError
from trainer import launch
from trainer.comparison import compare, not_comparable, winner
from trainer.launch import frozen_recipe
from trainer.recipe import Recipe, load, short_value
from trainer.sweep import Sweep, find_sweep, load_runs, recipes_of, start_sweep, sweeps
from tui.commands.sweep import sweep as sweep_command
from tui.commands.train import plan as plan_command

GRID = "[train]\nlearning_rate = [1e-4, 2e-4]\n[lora]\nr = [8, 16]\n"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home, a model and data; jobs are made, but no supervisor is started."""
    monkeypatch.setenv("LUTHIER_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("PATH", str(tmp_path))  # no nvidia-smi
    monkeypatch.setattr(launch, "start", lambda job: None)
    for name in ("base", "other"):
        (tmp_path / name).mkdir()
        for file in ("config.json", "model.safetensors", "tokenizer.json"):
            (tmp_path / name / file).write_text("{}")
    rows = [
        {
            "messages": [
                {"role": "user", "content": f"hi {n}"},
                {"role": "assistant", "content": "hello"},
            ]
        }
        for n in range(100)
    ]
    (tmp_path / "data.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return tmp_path


def recipe(folder: Path, text: str, head: str = 'model = "./base"') -> Path:
    path = folder / "captain.toml"
    path.write_text(f'{head}\ndata = ["data.jsonl"]\n{text}')
    return path


def loaded(path: Path) -> Sweep:
    sweep = load_runs(path)
    assert isinstance(sweep, Sweep)
    return sweep


def made(folder: Path, text: str = GRID, head: str = 'model = "./base"') -> Sweep:
    return loaded(recipe(folder, text, head))


def test_a_grid_of_all_combinations_with_names_that_say_what_varies(folder: Path) -> None:
    sweep = made(folder)
    assert sweep.axes == {"train.learning_rate": [1e-4, 2e-4], "lora.r": [8, 16]}
    names = ["captain-lr1e-4-r8", "captain-lr1e-4-r16", "captain-lr2e-4-r8", "captain-lr2e-4-r16"]
    assert [member.recipe.name for member in sweep.members] == names
    chosen = [(member.recipe.train.learning_rate, member.recipe.lora.r) for member in sweep.members]
    assert chosen == [(1e-4, 8), (1e-4, 16), (2e-4, 8), (2e-4, 16)]
    assert sweep.members[2].varies == {"train.learning_rate": 2e-4, "lora.r": 8}
    assert {member.recipe.data[0] for member in sweep.members} == {str(folder / "data.jsonl")}


def test_a_recipe_without_lists_is_one_run_under_its_own_name(folder: Path) -> None:
    path = recipe(folder, "[evaluation]\nmetrics = ['bleu', 'chrf']\nprompts = ['a', 'b']\n")
    asked = load_runs(path)
    assert asked == load(path) and recipes_of(asked) == [asked]
    assert isinstance(asked, Recipe) and asked.name == "captain"


def test_every_kind_of_single_value_may_vary(folder: Path) -> None:
    text = (
        '[train]\nschedule = ["cosine", "linear"]\npadding_free = [true,'
        ' false]\n[evaluation]\nevery = [5, "epoch"]\n'
    )
    sweep = made(folder, text, 'name = "x"\nmodel = ["./base", "./other"]')
    assert len(sweep.members) == 16
    assert sweep.members[0].recipe.name == "x-base-cosine-padding-free-every5"
    assert sweep.members[-1].recipe.name == "x-other-linear-no-padding-free-every-epoch"
    assert sweep.members[-1].recipe.model == str(folder / "other")


def test_the_weight_of_a_file_may_vary(folder: Path) -> None:
    path = folder / "mix.toml"
    path.write_text('model = "./base"\n[[data]]\npath = "data.jsonl"\nweight = [0.5, 2]\n')
    sweep = loaded(path)
    assert sweep.axes == {"data[0].weight": [0.5, 2]}
    assert [member.recipe.sources[0].weight for member in sweep.members] == [0.5, 2.0]


def test_long_names_are_numbered(folder: Path) -> None:
    sweep = made(folder, GRID, f'name = "{"n" * 50}"\nmodel = "./base"')
    assert [member.recipe.name for member in sweep.members] == [
        f"{'n' * 50}-{number}" for number in (1, 2, 3, 4)
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[train]\nlearnig_rate = [1e-4, 2e-4]", "unknown key train.learnig_rate"),
        (
            '[train]\nlearning_rate = [1e-4, "x"]',
            "train.learning_rate must be one of auto, a number, but it is x",
        ),
        ("[train]\nlearning_rate = [1e-4, -1]", "train.learning_rate: expected `float` > 0.0"),
        (
            "[train]\nlearning_rate = [[1e-4], [2e-4]]",
            "train.learning_rate: expected `float | str`, got `array`",
        ),
        ("[train]\nlearning_rate = []", "train.learning_rate is an empty list"),
        ("[lora]\nr = [8, 16, 8]", "lora.r contains a value twice"),
        (f"[train]\nseed = {[*range(30)]}\n[lora]\nr = {[*range(1, 31)]}", "900 combinations"),
        ("[lora]\nr = [8, 16", "Unclosed array"),
    ],
)
def test_what_is_wrong_is_told_by_key_before_anything_starts(
    folder: Path, text: str, message: str
) -> None:
    with pytest.raises(LuthierError) as caught:
        made(folder, text)
    assert message in caught.value.message
    assert "captain.toml" in caught.value.message
    assert not all_jobs()


def test_names_are_not_varied_and_one_run_takes_no_lists(folder: Path) -> None:
    with pytest.raises(LuthierError, match="name is a list"):
        made(folder, "", 'name = ["a", "b"]\nmodel = "./base"')
    with pytest.raises(LuthierError) as caught:
        load(recipe(folder, GRID))
    assert "makes a sweep" in caught.value.hint


def test_nothing_starts_where_one_of_the_runs_cannot(folder: Path) -> None:
    with pytest.raises(LuthierError, match="not a multiple"):
        start_sweep(made(folder, "[train]\nglobal_batch = [12, 10]\nmicro_batch = 6\n"))
    assert not all_jobs()


def test_the_runs_are_bound_by_the_sweeps_id(folder: Path) -> None:
    _, started = start_sweep(made(folder))
    identifier, found = find_sweep("captain")
    assert [job.id for job in found] == [job.id for job in started]
    assert list(sweeps()) == [identifier]
    bonds = [job.spec.settings["sweep"] for job in found]
    assert {bond["id"] for bond in bonds} == {identifier}
    assert [(bond["number"], bond["of"]) for bond in bonds] == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert bonds[3]["varies"] == {"train.learning_rate": 2e-4, "lora.r": 16}
    assert frozen_recipe(found[3]).lora.r == 16
    assert find_sweep(identifier[5:])[0] == identifier
    with pytest.raises(LuthierError, match="There is no sweep named"):
        find_sweep("pirate")


def result(job: Job, losses: list[float], **more: Any) -> None:
    told = [{"kind": "queued", "attempt": 1}, {"kind": "started", "pid": 1}]
    told += [
        {"kind": "eval", "step": 10 * number, "loss": loss, "metrics": {"bleu": 10 / loss}}
        for number, loss in enumerate(losses)
    ]
    told += [
        {"kind": "result", "loss": losses[-1] - 0.1, "seconds": 60.0, **more},
        {"kind": "exited", "code": 0, "stopped": False},
    ]
    job.events_path.write_text(
        "".join(
            json.dumps({"t": 1000.0 + number, **event}) + "\n" for number, event in enumerate(told)
        )
    )


def test_runs_compare_by_their_best_evaluation(folder: Path) -> None:
    _, started = start_sweep(made(folder))
    for job, losses in zip(
        started[:3], ([3.0, 2.0, 2.2], [3.0, 1.5, 1.9], [3.0, 1.8, 1.7]), strict=True
    ):
        result(job, losses)
    rows = compare(started)
    assert [row.value for row in rows] == [2.0, 1.5, 1.7, None]
    best = winner(rows)
    assert best is not None
    assert best.job.id == started[1].id
    assert best.loss == pytest.approx(1.8)
    assert best.seconds == 60.0
    assert not_comparable(rows) == ""
    answer = CliRunner().invoke(sweep_command, ["captain", "--json"])
    told = json.loads(answer.stdout)
    assert [run["best"] and run["best"]["step"] for run in told["runs"]] == [10, 10, 20, None]
    assert told["runs"][1]["varies"] == {"train.learning_rate": 1e-4, "lora.r": 16}
    shown = CliRunner().invoke(sweep_command, ["captain"], env={"COLUMNS": "160"}).stdout
    assert "captain-lr1e-4-r16" in shown
    assert "6.67" in shown  # bleu of the best evaluation
    assert f"best by loss: {started[1].id}" in " ".join(shown.split())


def test_where_the_held_out_conversations_differ_no_best_is_named(folder: Path) -> None:
    _, started = start_sweep(made(folder, "[train]\nseed = [1, 2]\n"))
    for job in started:
        result(job, [3.0, 2.0])
    rows = compare(started)
    assert "train.seed changes which conversations are held out" in not_comparable(rows)
    assert winner(rows) is None


def test_the_plan_shows_how_many_runs_and_what_varies(folder: Path) -> None:
    path = recipe(folder, "[train]\nepochs = [1, 2]\n")
    told = json.loads(CliRunner().invoke(plan_command, [str(path), "--json"]).stdout)
    assert told["axes"] == {"train.epochs": [1, 2]}
    assert [(run["name"], run["plan"]["steps"]) for run in told["runs"]] == [
        ("captain-epochs1", 6),
        ("captain-epochs2", 12),
    ]
    shown = CliRunner().invoke(plan_command, [str(path)]).stdout
    assert "A sweep of 2 runs: train.epochs 1, 2" in shown


@given(st.floats(1e-12, 1e12))
def test_values_are_short_and_exact_to_six_digits(value: float) -> None:
    assert math.isclose(float(short_value(value)), value, rel_tol=1e-5)
    assert len(short_value(value)) <= 12
