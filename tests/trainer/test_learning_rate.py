"""The learning rate that is taken where the recipe leaves it open, and the range outside of which
one is warned of."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from jobs import queue
from jobs.job import Job
from models.run_folder import RunFolder
from tests.trainer.shapes import llama
from trainer import edit, launch
from trainer.plan.learning_rate import learning_rate
from trainer.plan.plan import make_plan
from trainer.recipe import Lora, Recipe, Train, load, parse
from trainer.sweep import load_runs, recipes_of

SMALL, EIGHT, SEVENTY = 135_000_000, 8_000_000_000, 70_000_000_000


def recipe(rate: float | None = None, method: str = "lora") -> Recipe:
    train = Train(method=method) if rate is None else Train(method=method, learning_rate=rate)  # type: ignore[arg-type]
    return Recipe(data=["x"], train=train)


@pytest.mark.parametrize(
    ("method", "parameters", "rate"),
    [
        ("lora", SMALL, 5e-4),
        ("lora", EIGHT, 2e-4),
        ("lora", SEVENTY, 1e-4),
        ("lora", None, 2e-4),
        ("full", SMALL, 5e-5),
        ("full", EIGHT, 2e-5),
        ("full", SEVENTY, 1e-5),
    ],
)
def test_full_fine_tuning_takes_a_tenth_of_loras_rate_and_large_models_less(
    method: str, parameters: int | None, rate: float
) -> None:
    chosen = learning_rate(recipe(method=method), parameters)
    assert chosen.value == pytest.approx(rate)
    assert not chosen.warning
    assert "tenth" in chosen.reason if method == "full" else "whatever the rank" in chosen.reason


@pytest.mark.parametrize(
    ("lora", "rate"),
    [
        ({"r": 1}, 2e-4),
        ({"r": 256}, 2e-4),
        ({"dora": True}, 2e-4),
        ({"r": 64, "alpha": 128}, 1e-4),
        ({"r": 16, "rslora": True}, 1e-4),
        ({"r": 16, "alpha": 8, "rslora": True}, 2e-4),
        ({"plus_ratio": 16.0}, 5e-5),
    ],
)
def test_the_rank_does_not_matter_but_a_stronger_adapter_and_lora_plus_do(
    lora: dict[str, object], rate: float
) -> None:
    assert learning_rate(Recipe(data=["x"], lora=Lora(**lora)), EIGHT).value == pytest.approx(rate)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("rate", "method", "parameters", "warned"),
    [
        (
            2e-4,
            "full",
            EIGHT,
            (
                "train.learning_rate = 2e-4 is above the usual range for full fine-tuning of a"
                " model of 8.0 billion parameters"
            ),
        ),
        (2e-5, "full", EIGHT, ""),
        (2e-4, "lora", EIGHT, ""),
        (2e-5, "lora", EIGHT, ""),
        (1e-5, "lora", EIGHT, "below the usual range for LoRA of"),
        (2e-2, "lora", EIGHT, "parameters, 2e-5 to 1e-3"),
        (1e-3, "lora", SMALL, ""),  # the demo's
        (
            1e-7,
            "full",
            None,
            "below the usual range for full fine-tuning of this model, 2e-6 to 1e-4",
        ),
    ],
)
def test_a_rate_far_from_the_usual_ones_is_warned_of_with_the_range(
    rate: float, method: str, parameters: int | None, warned: str
) -> None:
    chosen = learning_rate(recipe(rate, method), parameters)
    assert (chosen.value, chosen.reason) == (rate, "")
    assert warned in chosen.warning if warned else not chosen.warning


@pytest.fixture
def base(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LUTHIER_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("PATH", str(tmp_path))  # no nvidia-smi
    lines = [
        {
            "messages": [
                {"role": "user", "content": f"hi {n}"},
                {"role": "assistant", "content": "hello"},
            ]
        }
        for n in range(40)
    ]
    (tmp_path / "data.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return llama(tmp_path / "base", "135m")


def written(base: Path, text: str) -> Path:
    path = base.parent / "mine.toml"
    path.write_text(f'model = "{base}"\ndata = ["data.jsonl"]\n{text}')
    return path


def test_the_plan_says_what_it_takes_and_why_and_the_frozen_recipe_has_the_value(
    base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(launch, "start", lambda job: None)
    left_open = load(written(base, ""))
    assert left_open.train.learning_rate == "auto"
    plan = make_plan(left_open)
    assert plan.learning_rate == 5e-4
    assert any(
        reason.text.startswith("Learning rate 5e-4: usual for LoRA") for reason in plan.reasons
    )
    job = launch.train(left_open)
    assert launch.frozen_recipe(job).train.learning_rate == 5e-4
    assert (
        RunFolder(job.directory)
        .recipe.read_text()
        .startswith("# Learning rate 5e-4: usual for LoRA")
    )
    again = launch.train(launch.frozen_recipe(job))
    assert launch.frozen_recipe(again).train.learning_rate == 5e-4


def test_an_edited_frozen_recipe_says_the_rate_and_auto_leaves_it_to_the_plan(base: Path) -> None:
    plan = make_plan(load(written(base, "")))
    assert plan.rate(Recipe(data=["x"], train=Train(learning_rate=1e-5))) == 1e-5
    assert plan.rate(Recipe(data=["x"])) == 5e-4


def test_a_waiting_run_whose_recipe_is_edited_gets_the_rate_of_its_new_method(
    base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(launch, "start", lambda job: None)

    class Waiting:
        def __init__(self, job: Job) -> None: ...
        def __enter__(self) -> None: ...
        def __exit__(self, *error: object) -> None: ...

    monkeypatch.setattr(queue, "kept_waiting", Waiting)
    job = launch.train(load(written(base, "")))
    edit.replace_recipe(job, written(base, '[train]\nmethod = "full"\n'))
    assert launch.frozen_recipe(job).train.learning_rate == pytest.approx(5e-5)


def test_a_sweep_may_try_auto_beside_values(base: Path) -> None:
    asked = load_runs(written(base, '[train]\nlearning_rate = ["auto", 1e-3]\n'))
    assert [make_plan(recipe).learning_rate for recipe in recipes_of(asked)] == [5e-4, 1e-3]
    assert [recipe.name for recipe in recipes_of(asked)] == ["mine-lr-auto", "mine-lr1e-3"]


def test_what_is_neither_auto_nor_a_number_above_nought_is_refused() -> None:
    for value in ('"fast"', "0", "-1e-4", "true"):
        with pytest.raises(Exception, match="learning_rate"):
            parse(f'data = ["x"]\n[train]\nlearning_rate = {value}\n', "x.toml")
