"""What the plan chooses by itself: the fastest settings that fit, and why."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest

from jobs.gpus import Gpu
from jobs.luthier_error import LuthierError
from tests.trainer.shapes import llama, shape_of
from trainer.plan import autotune, plan, repair
from trainer.plan.autotune import Choice, Task, choose
from trainer.plan.compute import Compute
from trainer.plan.memory import remembered
from trainer.plan.memory.batches import Lengths
from trainer.plan.memory.predict import Setting
from trainer.plan.memory.shape import ModelShape
from trainer.plan.plan import Plan, make_plan
from trainer.recipe import Recipe
from tui.runs import plan_text

H200 = 143_771 << 20
LONG = Lengths(1335.0, 2048, 500.0)


@pytest.fixture(scope="module")
def eight(tmp_path_factory: pytest.TempPathFactory) -> ModelShape:
    return shape_of(llama(tmp_path_factory.mktemp("8b")))


def recipe(**train: Any) -> Recipe:
    return msgspec.convert({"data": ["x.jsonl"], "train": train}, Recipe)


def chosen(
    shape: ModelShape, gigabytes: float, wanted: Recipe | None = None, **task: Any
) -> Choice:
    wanted = wanted or recipe()
    settings = {
        "lengths": LONG,
        "engine": "unsloth",
        "conversations": wanted.train.global_batch,
        **task,
    }
    return choose(Task(wanted, shape, card=round(gigabytes * 1e9), **settings))


def settings_of(choice: Choice) -> tuple[int, str, str, int]:
    best = choice.best
    return (
        best.compute.base_bits,
        best.compute.gradient_checkpointing,
        best.compute.optimizer,
        best.compute.micro_batch,
    )


def test_on_an_h200_nothing_is_recomputed_and_eight_conversations_are_enough(
    eight: ModelShape,
) -> None:
    choice = chosen(eight, H200 / 1e9)
    assert settings_of(choice) == (16, "none", "adamw", 8)
    assert choice.best.verdict == "chosen"
    assert any("No gradient checkpointing" in reason.text for reason in choice.reasons)
    assert any("more would be no faster" in reason.text for reason in choice.reasons)


@pytest.mark.parametrize(
    ("gigabytes", "bits", "checkpointing"),
    [
        (80, 16, "none"),
        (40, 16, "none"),
        (30, 16, "unsloth"),
        (24, 16, "unsloth"),
        (16, 4, "unsloth"),
        (10, 4, "unsloth"),
    ],
)
def test_smaller_cards_get_what_fits_them(
    eight: ModelShape, gigabytes: int, bits: int, checkpointing: str
) -> None:
    """Checkpointing comes before fewer bits."""
    choice = chosen(eight, gigabytes)
    assert (choice.best.compute.base_bits, choice.best.compute.gradient_checkpointing) == (
        bits,
        checkpointing,
    )
    assert choice.best.fits and choice.best.needs <= gigabytes * 1e9
    quicker = [
        one
        for one in choice.tried
        if one.fits and one.compute.base_bits >= bits and one.cost < choice.best.cost
    ]
    assert not quicker


def test_float8_that_is_asked_for_keeps_16_bits(eight: ModelShape) -> None:
    choice = chosen(eight, 10, recipe(float8=True))
    assert choice.best.compute.base_bits == 16 and not choice.best.fits
    assert choice.reasons[0].text.startswith("Nothing is predicted to fit") and not any(
        "-bit base" in reason.text for reason in choice.reasons
    )


def test_every_combination_was_tried_and_says_what_became_of_it(eight: ModelShape) -> None:
    choice = chosen(eight, 24)
    assert len(choice.tried) == 4
    verdicts = {
        (candidate.compute.base_bits, candidate.compute.gradient_checkpointing): candidate.verdict
        for candidate in choice.tried
    }
    assert verdicts[16, "none"].startswith("does not fit: needs")
    assert verdicts[4, "unsloth"] == "fits, but more bits fit too"
    assert verdicts[16, "unsloth"] == "chosen"


def test_what_the_recipe_says_is_kept(eight: ModelShape) -> None:
    wanted = recipe(
        base_bits=4, gradient_checkpointing="standard", micro_batch=2, optimizer="paged_adamw_8bit"
    )
    choice = chosen(eight, 140, wanted)
    assert settings_of(choice) == (4, "standard", "paged_adamw_8bit", 2)
    assert not choice.reasons and len(choice.tried) == 1


def test_short_conversations_go_together_in_greater_numbers(eight: ModelShape) -> None:
    short = Lengths(120.0, 400, 60.0)
    assert chosen(eight, 140, recipe(global_batch=64), lengths=short).best.compute.micro_batch == 64
    assert (
        chosen(eight, 140, recipe(global_batch=256), lengths=short).best.compute.micro_batch == 128
    )


@pytest.mark.parametrize("global_batch", [1, 7, 12, 96])
def test_the_global_batch_is_never_changed(eight: ModelShape, global_batch: int) -> None:
    for gigabytes in (10, 24, 80):
        assert (
            global_batch
            % chosen(eight, gigabytes, recipe(global_batch=global_batch)).best.compute.micro_batch
            == 0
        )


def test_where_nothing_fits_the_thriftiest_is_taken_and_it_is_said(eight: ModelShape) -> None:
    choice = chosen(eight, 6)
    assert settings_of(choice) == (4, "unsloth", "adamw_8bit", 1)
    assert choice.reasons[0].text.startswith("Nothing is predicted to fit")
    assert choice.best.verdict == "chosen, but too large"


def test_full_fine_tuning_has_32_bits_and_gives_up_states_before_it_gives_up(
    eight: ModelShape,
) -> None:
    full = recipe(method="full")
    assert settings_of(chosen(eight, 250, full, engine="trl"))[:3] == (32, "none", "adamw")
    assert chosen(eight, 120, full, engine="trl").best.compute.optimizer == "adamw_8bit"


def test_reasons_speak_of_what_was_chosen(eight: ModelShape) -> None:
    """Where fewer states would fit without recomputing, and where padding makes larger batches
    slower though they fit."""
    full = recipe(method="full", micro_batch=1)
    between = next(
        choice
        for size in range(100, 260, 2)
        if (choice := chosen(eight, size, full, engine="trl")).best.compute.optimizer == "adamw"
    )
    assert between.best.compute.gradient_checkpointing == "standard"
    (why,) = (reason for reason in between.reasons if "checkpointing" in reason.text)
    assert "without it" in why.text and "run needs at least" in why.text
    padded = chosen(eight, H200 / 1e9, lengths=Lengths(1000.0, 9000, 2500.0), decided=Compute())
    sizes = autotune.micro_batches(recipe(), recipe().train.global_batch, 1000.0)
    assert padded.best.compute.micro_batch < sizes[-1]
    assert any("more would be no faster" in reason.text for reason in padded.reasons)
    tiny = chosen(
        eight, H200 / 1e9, recipe(micro_batch=0, global_batch=1), lengths=Lengths(30.0, 40)
    )
    assert any("about 30 tokens at once" in reason.text for reason in tiny.reasons)


def test_trl_has_no_checkpointing_of_unsloth(eight: ModelShape) -> None:
    assert {
        candidate.compute.gradient_checkpointing
        for candidate in chosen(eight, 80, engine="trl").tried
    } == {
        "none",
        "standard",
    }


def test_what_was_measured_corrects_what_is_predicted(eight: ModelShape) -> None:
    def measured(setting: Setting) -> tuple[float, str]:
        return (2.5, "run-1") if setting.compute.gradient_checkpointing == "none" else (1.0, "")

    before, after = chosen(eight, 80), chosen(eight, 80, measured=measured)
    assert (
        before.best.compute.gradient_checkpointing
        == "none"
        != after.best.compute.gradient_checkpointing
    )
    corrected = chosen(eight, 240, measured=measured)
    assert (
        corrected.reasons[-1].text
        == "Predictions are multiplied by 2.50, which run run-1 measured."
    )


# ---- in the plan


@pytest.fixture
def gpu_plan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """make_plan of a recipe on a machine with an H200."""
    monkeypatch.setenv("LUTHIER_HOME", str(tmp_path / "home"))
    found = [Gpu(0, "NVIDIA H200", H200, H200)]
    monkeypatch.setattr(plan, "gpus", lambda: found)
    monkeypatch.setattr(repair, "gpus", lambda: found)
    # whatever the tests are run with
    monkeypatch.setattr("trainer.plan.engines.installed", lambda: {"trl"})
    folder = llama(tmp_path / "model")
    rows = [
        [
            {"role": "user", "content": f"{number} " + "why? " * 300},
            {"role": "assistant", "content": "because " * 200},
        ]
        for number in range(60)
    ]
    (tmp_path / "x.jsonl").write_text(
        "".join(f"{msgspec.json.encode({'messages': row}).decode()}\n" for row in rows)
    )
    base = Recipe(data=[str(tmp_path / "x.jsonl")], model=str(folder))

    def made(**train: Any) -> tuple[Plan, Recipe]:
        wanted = msgspec.structs.replace(base, train=msgspec.structs.replace(base.train, **train))
        return make_plan(wanted), wanted

    return made


def test_the_plan_has_choices_reasons_and_memory(gpu_plan: Any) -> None:
    made, _ = gpu_plan()
    first = made.choices[0]
    assert (
        made.compute.micro_batch,
        made.compute.base_bits,
        made.compute.gradient_checkpointing,
    ) == (
        first.compute.micro_batch,
        first.compute.base_bits,
        first.compute.gradient_checkpointing,
    )
    assert made.compute.micro_batch * made.compute.accumulation == made.global_batch
    assert made.compute.padding_free and made.reasons and sum(made.memory.values()) == first.peak
    assert 880 < made.tokens / made.compute.micro_batch < 920  # 3,100 bytes a conversation
    assert Plan.from_json(msgspec.json.decode(msgspec.json.encode(made.to_json()))) == made


def test_on_hopper_the_products_are_in_float8(
    gpu_plan: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plan, "compute_capability", lambda: (9, 0))
    (made, _), (exact, _), (four, _) = gpu_plan(), gpu_plan(float8=False), gpu_plan(base_bits=4)
    assert made.compute.float8 and any(
        reason.text.startswith("Float8 products") for reason in made.reasons
    )
    assert not exact.compute.float8 and not four.compute.float8
    assert plan_text.settings(made) == plan_text.settings(exact).replace(
        "16-bit base", "16-bit base with float8 products"
    )


def test_an_earlier_repair_still_counts(gpu_plan: Any) -> None:
    before, wanted = gpu_plan()
    shape = before.shape(wanted)
    repair.remember(shape, before.compute, before.compute.with_micro_batch(1), "run-7")
    after, _ = gpu_plan()
    assert after.compute.micro_batch == 1 and "run-7" in after.repaired
    assert sum(after.memory.values()) < sum(before.memory.values())


def test_an_earlier_measurement_counts(gpu_plan: Any) -> None:
    before, wanted = gpu_plan()
    setting = replace(Setting.of(wanted, before.engine, before.compute), tokens=9)
    remembered.remember(before.model, repair.device_name(), setting, 1000, 1010, "run-8")
    after, _ = gpu_plan()
    assert after.choices[0].peak == pytest.approx(1.01 * before.choices[0].peak)
    assert any("run-8" in reason.text for reason in after.reasons)


def test_checkpointing_of_the_other_engine_is_refused(gpu_plan: Any) -> None:
    with pytest.raises(LuthierError, match="unsloth"):
        gpu_plan(gradient_checkpointing="unsloth")


def test_costs_follow_what_was_measured() -> None:
    """Tokens a second of 4 and 8 conversations on an H200 (bench/gpu/RESULTS.md: the median step),
    against the best."""
    shape = ModelShape("llama", 8, 8, 1, 8, 8, 8, (), 8)
    for tokens, speed in ((5500, 15_035), (11_000, 16_200)):
        task = Task(recipe(), shape, Lengths(tokens, tokens), "unsloth", H200, 1)
        cost = task.candidate(Compute(padding_free=True)).cost
        assert 16_550 / cost == pytest.approx(speed, rel=0.03)
    assert autotune.kinds(recipe(), "unsloth")[0] == "none"
