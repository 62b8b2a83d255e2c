"""What a CPU computes in: the faster type, if there is memory for it."""

from __future__ import annotations

import json
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import msgspec
import pytest

from jobs.luthier_error import LuthierError
from models import compute_dtype as speeds
from models.compute_dtype import DtypeSpeed
from tests.trainer.shapes import llama
from trainer.plan import compute_dtype
from trainer.plan.plan import Plan, make_plan
from trainer.recipe import Recipe

FAST_FLOAT32 = DtypeSpeed(bfloat16=3.0, float32=2.0)
FAST_BFLOAT16 = DtypeSpeed(bfloat16=1.0, float32=4.0)


@pytest.fixture
def recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Recipe:
    monkeypatch.setenv("LUTHIER_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("PATH", str(tmp_path))  # no nvidia-smi
    talk = {
        "messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "hello"}]
    }
    (tmp_path / "data.jsonl").write_text(json.dumps(talk) + "\n")
    return msgspec.convert(
        {"data": [str(tmp_path / "data.jsonl")], "model": str(llama(tmp_path / "base", "135m"))},
        Recipe,
    )


def texts(plan: Plan) -> list[str]:
    return [reason.text for reason in plan.reasons]


def asking(recipe: Recipe, **train: object) -> Recipe:
    return msgspec.structs.replace(recipe, train=msgspec.structs.replace(recipe.train, **train))


def test_a_plan_leaves_the_type_to_the_run_until_it_was_measured(recipe: Recipe) -> None:
    plan = make_plan(recipe)
    assert plan.compute.compute_dtype == "auto" and any(
        "the run first measures" in reason.text for reason in plan.reasons
    )
    speeds.remember(Path(plan.model_directory), FAST_FLOAT32)
    measured = make_plan(recipe)
    assert measured.compute.compute_dtype == "float32"
    assert (
        "Computes in float32: this CPU multiplies in float32 1.5 times as fast as in bfloat16, as"
        " measured." in texts(measured)
    )
    assert measured.memory["weights"] == 2 * plan.memory["weights"]
    assert measured.memory["activations"] == 2 * plan.memory["activations"]
    assert measured.memory["adapter"] == plan.memory["adapter"]


def test_a_measurement_holds_for_these_instructions_only(
    recipe: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    speeds.remember(Path(recipe.model), FAST_FLOAT32)
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "AVX2")
    assert speeds.recall(Path(recipe.model)) is None


def test_the_app_alone_plans_without_torch(recipe: Recipe, monkeypatch: pytest.MonkeyPatch) -> None:
    def not_installed(package: str) -> str:
        raise PackageNotFoundError(package)

    speeds.remember(Path(recipe.model), FAST_FLOAT32)
    monkeypatch.setattr("importlib.metadata.version", not_installed)
    assert make_plan(recipe).compute.compute_dtype == "auto"


def test_what_was_remembered_may_be_damaged(recipe: Recipe) -> None:
    speeds.remember(Path(recipe.model), FAST_FLOAT32)
    path = Path(recipe.model).parent / "home" / speeds.SPEEDS_FILE
    path.write_text('{"x": {"bfloat16": "slow"}}')
    assert make_plan(recipe).compute.compute_dtype == "auto"


@pytest.mark.parametrize(
    ("speed", "dtype"),
    [
        (FAST_FLOAT32, "float32"),
        (FAST_BFLOAT16, "bfloat16"),
        (DtypeSpeed(bfloat16=1.05, float32=1.0), "bfloat16"),
    ],
)
def test_twice_the_memory_has_to_be_worth_it(recipe: Recipe, speed: DtypeSpeed, dtype: str) -> None:
    settled = compute_dtype.settled(make_plan(recipe), recipe, speed)
    assert settled.compute.compute_dtype == dtype
    assert [text for text in texts(settled) if "Computes in" in text] == [
        f"Computes in {dtype}: {speed.in_words()}."
    ]


def test_float32_that_does_not_fit_is_left(recipe: Recipe, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compute_dtype, "main_memory", lambda: 600_000_000)
    settled = compute_dtype.settled(make_plan(recipe), recipe, FAST_FLOAT32)
    assert (
        settled.compute.compute_dtype == "bfloat16"
        and "this machine has 0.6 GB" in texts(settled)[-1]
    )


def test_the_recipe_decides(recipe: Recipe) -> None:
    speeds.remember(Path(recipe.model), FAST_BFLOAT16)
    plan = make_plan(asking(recipe, compute_dtype="float32"))
    assert (
        plan.compute.compute_dtype == "float32"
        and texts(plan)[-1] == "Computes in float32, because the recipe says so."
    )
    assert make_plan(asking(recipe, compute_dtype="bfloat16")).compute.compute_dtype == "bfloat16"


@pytest.mark.parametrize("train", [{"base_bits": 4}, {"float8": True}])
def test_what_is_bound_to_bfloat16_says_so(recipe: Recipe, train: dict[str, object]) -> None:
    speeds.remember(Path(recipe.model), FAST_FLOAT32)
    assert make_plan(asking(recipe, **train)).compute.compute_dtype == "bfloat16"
    with pytest.raises(LuthierError, match="float32 is not possible"):
        make_plan(asking(recipe, **train, compute_dtype="float32"))


def test_a_run_that_began_keeps_its_type_though_it_was_planned_again(recipe: Recipe) -> None:
    """Its recipe was edited while it waited to go on, and the plan has learned of a measurement
    since."""
    speeds.remember(Path(recipe.model), FAST_FLOAT32)
    planned = make_plan(recipe)
    resumed = compute_dtype.resumed(planned, recipe, "bfloat16")
    assert (planned.compute.compute_dtype, resumed.compute.compute_dtype) == ("float32", "bfloat16")
    assert resumed.memory == make_plan(asking(recipe, compute_dtype="bfloat16")).memory
    assert [text for text in texts(resumed) if "Computes in" in text] == [
        "Computes in bfloat16, as it did before."
    ]


def test_runs_of_earlier_versions_go_on_in_bfloat16(recipe: Recipe) -> None:
    settings = make_plan(recipe).to_json()
    del settings["compute_dtype"]
    assert Plan.from_json(settings).compute.compute_dtype == "bfloat16"
