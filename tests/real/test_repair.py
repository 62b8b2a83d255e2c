"""Runs that run out of memory or whose loss explodes: the real worker, on a tiny model."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from jobs.luthier_error import LuthierError
from models.run_folder import RECIPE_FILE
from tests.real.forks import KILLED, PLAIN, REPAIRED, Forks, events, outcome
from trainer import launch
from trainer.plan.memory import remembered
from trainer.plan.memory.predict import Setting
from trainer.plan.plan import make_plan
from trainer.plan.repair import device_name
from trainer.recipe import load
from trainer.run.checkpoints import complete_checkpoints

pytestmark = pytest.mark.real


def model_named(forks: Forks, name: str) -> Path:
    """The same model under another name: what is remembered of it is another shape's."""
    path = forks.folder / name
    path.symlink_to(forks.model)
    return path


def test_out_of_memory_changes_the_micro_batch_and_nothing_else(forks: Forks) -> None:
    """From step 4 on memory is for two conversations, from step 9 on for one: the same samples in
    the same steps, the same losses but for the noise of 16-bit sums; the next run of that shape
    begins with what was found, and says why."""
    model = model_named(forks, "repaired")
    calm = forks.make(**REPAIRED, model=model)
    assert forks.work(calm) == 0
    job = forks.make(**REPAIRED, model=model)
    faults = [
        ["out_of_memory", {"where": "forward", "step": step, "size": size}]
        for step, size in ((4, 2), (9, 1))
    ]
    assert forks.work(job, *faults, ["count_models", "models"]) == 0
    # the memory of the old one is free before the next
    assert (job.directory / "models").read_text().split() == ["0", "0", "0"]
    repairs = [
        (event["step"], event["what"], event["micro_batch"], event["accumulation"])
        for event in events(job, "repair")
    ]
    assert repairs == [(3, "micro_batch", 2, 4), (8, "micro_batch", 1, 8)]
    assert all("out of memory" in event["reason"] for event in events(job, "repair"))
    assert not events(job, "resumed")
    one, other = outcome(calm), outcome(job)
    assert other.order == one.order
    assert [other.steps[step] for step in (1, 2, 3)] == [one.steps[step] for step in (1, 2, 3)]
    for step, (loss, tokens) in one.steps.items():
        assert other.steps[step][0] == pytest.approx(loss, abs=0.02)
        assert other.steps[step][1] == tokens
    assert other.evaluations == {
        step: pytest.approx(loss, abs=0.02) for step, loss in one.evaluations.items()
    }
    plan = make_plan(load(job.directory / RECIPE_FILE))
    assert (plan.compute.micro_batch, plan.compute.accumulation, plan.global_batch) == (1, 8, 8)
    assert plan.repaired == f"micro-batch 1, because run {job.id} ran out of memory at 2"
    assert make_plan(load(forks.make(**PLAIN).directory / RECIPE_FILE)).repaired == ""


def test_a_repaired_run_goes_on_repaired(forks: Forks) -> None:
    """Stopped after its repair, it goes on with the batch it was repaired to, bit for bit; the plan
    still says the one it began with."""
    fault = ["out_of_memory", {"where": "forward", "step": 4, "size": 2}]
    whole = forks.make(**REPAIRED, model=model_named(forks, "goes-on"))
    assert forks.work(whole, fault) == 0
    job = forks.make(**REPAIRED, model=model_named(forks, "goes-on-too"))
    assert forks.work(job, fault, ["stop_in", ["step", 6]]) == 0
    assert forks.work(job, ["kill_in_save", ["before COMPLETE", 1]]) == KILLED
    assert forks.work(job) == 0
    assert outcome(job) == outcome(whole)
    assert job.spec.settings["micro_batch"] == 4


@pytest.mark.parametrize("step", [1, 8])
def test_out_of_memory_while_the_weights_change(forks: Forks, step: int) -> None:
    """The half changed weights are not gone on with: the run returns to its last checkpoint, or to
    the beginning."""
    settings = {**REPAIRED, "evaluations": 0, "model": model_named(forks, f"optimizer-{step}")}
    calm = forks.make(**settings)
    assert forks.work(calm) == 0
    job = forks.make(**settings)
    assert forks.work(job, ["out_of_memory", {"where": "optimizer", "step": step, "size": 0}]) == 0
    (repair,) = events(job, "repair")
    assert "DefaultCPUAllocator" in repair["reason"]
    assert [event["step"] for event in events(job, "resumed")] == ([5] if step == 8 else [])
    one, other = outcome(calm), outcome(job)
    assert other.order == one.order
    assert {step: loss for step, (loss, _) in other.steps.items()} == {
        step: pytest.approx(loss, abs=0.02) for step, (loss, _) in one.steps.items()
    }


def test_then_gradient_checkpointing_then_an_error(forks: Forks) -> None:
    job = forks.make(**{**REPAIRED, "micro_batch": 1}, model=model_named(forks, "no-way"))
    assert forks.work(job, ["out_of_memory", {"where": "forward", "step": 3, "size": 0}]) == 1
    (repair,) = events(job, "repair")
    assert (repair["what"], repair["gradient_checkpointing"], repair["micro_batch"]) == (
        "gradient_checkpointing",
        "standard",
        1,
    )
    (error,) = events(job, "error")
    assert error["title"] == "Out of memory"
    assert "train.max_length (now 2048)" in error["hint"]
    assert "CUDA out of memory" in error["message"]
    assert forks.work(job) == 0  # somebody has freed some
    assert outcome(job).steps.keys() == set(range(1, 15))


def test_out_of_memory_in_an_evaluation(forks: Forks) -> None:
    """Only the evaluation gets smaller batches; training stays bit for bit what it was."""
    settings = {**REPAIRED, "model": model_named(forks, "evaluations")}
    calm, job = forks.make(**settings), forks.make(**settings)
    assert forks.work(calm) == 0
    assert forks.work(job, ["out_of_memory", {"where": "evaluation", "step": 5, "size": 1}]) == 0
    assert [(event["what"], event["micro_batch"]) for event in events(job, "repair")] == [
        ("evaluation_batch", 2),
        ("evaluation_batch", 1),
    ]
    assert outcome(job).adapter == outcome(calm).adapter
    assert outcome(job).evaluations == {
        step: pytest.approx(loss, abs=0.02) for step, loss in outcome(calm).evaluations.items()
    }
    assert make_plan(load(job.directory / RECIPE_FILE)).repaired == ""


# ---- calibration


def test_measuring_the_memory_changes_nothing_of_the_run(forks: Forks) -> None:
    """The largest micro-batch is computed and forgotten: with dropout, every step and the adapter
    stay bit for bit what they were."""
    model = model_named(forks, "calibrated")
    calm, job = forks.make(model=model), forks.make(model=model)
    assert forks.work(calm) == 0
    assert forks.work(job, ["measure", {"peaks": [5_000_000], "room": 9_000_000}]) == 0
    (told,) = events(job, "calibrated")
    summary = outcome(job)
    assert summary == outcome(calm)
    lengths = [
        len(json.loads(line)["input_ids"])
        for line in (job.directory / "data" / "train.jsonl").read_text().splitlines()
    ]
    assert 2 * sum(lengths) / len(lengths) < told["tokens"] <= 4 * max(lengths)
    assert (
        told["micro_batch"] == 2
        and 5_000_000 < told["measured"] < 5_500_000
        and told["predicted"] > 0
    )
    setting = Setting("trl", 0)
    factor, run = remembered.recall(str(model), device_name(), setting)
    assert run == job.id and factor == told["measured"] / told["predicted"]
    assert not events(job, "repair")


def test_what_does_not_fit_is_repaired_before_the_first_step(forks: Forks) -> None:
    job = forks.make(**REPAIRED, model=model_named(forks, "measured"))
    assert (
        forks.work(
            job, ["measure", {"peaks": [8_000_000, 8_000_000, 2_000_000], "room": 6_000_000}]
        )
        == 0
    )
    assert [(event["step"], event["micro_batch"]) for event in events(job, "repair")] == [
        (0, 2),
        (0, 1),
    ]
    assert [event["micro_batch"] for event in events(job, "calibrated")] == [4, 2, 1]
    assert "the largest micro-batch takes" in events(job, "repair")[0]["reason"]
    assert outcome(job).steps.keys() == set(range(1, 15))


# ---- explosion


def test_a_loss_that_is_no_number_ends_the_run_at_its_last_good_checkpoint(forks: Forks) -> None:
    job = forks.make(every_steps=2)
    assert forks.work(job, ["no_number", 8]) == 1
    (error,) = events(job, "error")
    assert error["title"] == "The loss exploded"
    assert "became NaN at step 8" in error["message"]
    last = events(job, "checkpoint")[-1]
    assert (last["step"], last["reason"]) == (6, "last good")
    assert last["path"] in error["message"]
    assert f"luthier resume {job.id}" in error["hint"]
    assert forks.work(job) == 0
    assert events(job, "resumed")[-1]["step"] == 6


def test_an_exploding_loss_ends_the_run_before_its_onset(forks: Forks) -> None:
    """The checkpoints that were saved while it exploded are no longer there; with a lower rate the
    run goes on, if forced."""
    job = forks.make(every_steps=1, epochs=3)
    assert forks.work(job, ["explode", 16]) == 1
    (error,) = events(job, "error")
    assert "Since step" in error["message"]
    onset = int(error["message"].split("Since step ")[1].split()[0])
    assert 17 <= onset <= 20
    kept = [checkpoint.step for checkpoint in complete_checkpoints(job.directory)]
    assert kept[-1] == onset - 2
    assert events(job, "checkpoint")[-1]["step"] == kept[-1]
    recipe = job.directory / RECIPE_FILE
    recipe.write_text(recipe.read_text().replace("learning_rate = 0.01", "learning_rate = 0.001"))
    with pytest.raises(LuthierError, match=r"train\.learning_rate was 0\.01, now 0\.001"):
        launch.resume(job)
    (job.directory / "resume.json").write_text('{"forced": true}')
    assert forks.work(job) == 0
    resumed = events(job, "resumed")[-1]
    assert resumed["forced"]
    assert resumed["differences"] == ["recipe: train.learning_rate was 0.01, now 0.001"]
    after = [event for event in events(job, "step") if event["t"] > resumed["t"]]
    assert all(0 < event["learning_rate"] <= 0.001 for event in after)
