"""Runs that try settings before their first step: the real worker, on a tiny model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from jobs.job import Job
from models.run_folder import RECIPE_FILE
from tests.real.forks import Forks, events, outcome
from trainer.plan import repair, trials
from trainer.plan.plan import Plan, make_plan
from trainer.recipe import load

pytestmark = [pytest.mark.real, pytest.mark.timeout(240)]

OPEN: dict[str, Any] = {"micro_batch": 0, "global_batch": 8, "every_steps": 2}
"""The plan of a CPU would compute eight at a time."""


@pytest.fixture
def trying(forks: Forks, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Makes a run that will try settings, of a model of its own name: what is remembered of one is
    not another's."""
    monkeypatch.setenv("LUTHIER_TRIALS", "always")

    def make(name: str, **settings: Any) -> Job:
        model = forks.folder / f"trials-{name}"
        if not model.exists():
            model.symlink_to(forks.model)
        monkeypatch.setattr(repair, "device_name", lambda: name)
        return forks.make(**{**OPEN, "model": model, **settings})

    return make


def fixed(forks: Forks, monkeypatch: pytest.MonkeyPatch, **settings: Any) -> Job:
    monkeypatch.delenv("LUTHIER_TRIALS")
    return forks.make(**{**OPEN, **settings})


def test_trials_change_nothing_of_the_run(
    forks: Forks, trying: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With dropout: what was predicted is the quickest, and every step, every evaluation and the
    adapter stay bit for bit what they are without trials."""
    job = trying("same")
    assert forks.work(job, ["try_settings", {"seconds": {"8 none": 0.5}}]) == 0
    calm = fixed(forks, monkeypatch)
    assert forks.work(calm) == 0
    assert outcome(job) == outcome(calm)
    (trials_event,) = events(job, "trials")
    assert trials_event["chosen"] == "16-bit products, 8 at a time"
    assert {each["micro_batch"] for each in trials_event["contenders"]} > {8}
    assert not events(calm, "trials")


@pytest.mark.parametrize(
    ("quickest", "settings"),
    [
        ("4 none", {"micro_batch": 4}),
        ("8 standard", {"sections": {"train": 'gradient_checkpointing = "standard"'}}),
    ],
)
def test_the_quickest_one_trains(
    forks: Forks,
    trying: Any,
    monkeypatch: pytest.MonkeyPatch,
    quickest: str,
    settings: dict[str, Any],
) -> None:
    """Bit for bit the run that a recipe with these settings makes; the next plan of the kind has
    them, with the figures."""
    job = trying(f"other {quickest}")
    assert forks.work(job, ["try_settings", {"seconds": {quickest: 0.1}}]) == 0
    plan_event = events(job, "plan")[-1]
    plan = Plan.from_json({key: plan_event[key] for key in plan_event if key not in ("t", "kind")})
    assert f"{plan.compute.micro_batch} {plan.compute.gradient_checkpointing}" == quickest
    assert plan.trials is not None and plan.trials.run == job.id
    assert any(job.id in reason.text for reason in plan.reasons)
    again = make_plan(load(job.directory / RECIPE_FILE))
    assert again.compute == plan.compute and again.trials == plan.trials
    calm = fixed(forks, monkeypatch, **settings)
    assert forks.work(calm) == 0
    assert outcome(job) == outcome(calm)


def test_running_out_of_memory_is_an_answer(forks: Forks, trying: Any) -> None:
    job = trying("memory")
    fault = {"too_large": ["8 none"], "seconds": {"8 none": 0.1, "4 none": 0.2}}
    assert forks.work(job, ["try_settings", fault]) == 0
    (trials_event,) = events(job, "trials")
    assert trials_event["chosen"] == "16-bit products, 4 at a time"
    (large,) = (each for each in trials_event["contenders"] if each["outcome"])
    assert (large["micro_batch"], large["outcome"]) == (8, "out of memory")
    assert not events(job, "repair")


def test_a_stop_during_trials_ends_them(forks: Forks, trying: Any) -> None:
    """Before the first step there is nothing to save: the next attempt begins again, and tries."""
    fault = {"seconds": {"8 none": 0.1}}
    uninterrupted = trying("whole")
    assert forks.work(uninterrupted, ["try_settings", fault]) == 0
    job = trying("stopped")
    assert forks.work(job, ["try_settings", {**fault, "stop": 3}]) == 0
    assert not events(job, "trials", "result", "step")
    assert forks.work(job, ["try_settings", fault]) == 0
    assert len(events(job, "trials")) == 1
    assert outcome(job) == outcome(uninterrupted)


def test_a_resumed_run_keeps_what_was_chosen(forks: Forks, trying: Any) -> None:
    fault = ["try_settings", {"seconds": {"4 none": 0.1}}]
    uninterrupted = trying("whole four")
    assert forks.work(uninterrupted, fault) == 0
    job = trying("stopped four")
    assert forks.work(job, fault, ["stop_in", ["step", 6]]) == 0
    assert forks.work(job, fault) == 0
    assert len(events(job, "trials")) == 1 and job.spec.settings["micro_batch"] == 8
    assert outcome(job) == outcome(uninterrupted)


def test_a_remembered_choice_is_not_tried_again(forks: Forks, trying: Any) -> None:
    fault = ["try_settings", {"seconds": {"4 none": 0.1}}]
    assert forks.work(trying("again"), fault) == 0
    job = trying("again")
    assert job.spec.settings["micro_batch"] == 4
    assert forks.work(job, fault) == 0
    assert not events(job, "trials")


def test_a_damaged_file_forgets_only_what_is_damaged(
    forks: Forks, trying: Any, luthier_home: Path
) -> None:
    job = trying("damaged")
    assert forks.work(job, ["try_settings", {}]) == 0
    path = luthier_home / trials.TRIALS_FILE
    path.write_text(path.read_text().replace("[", '[{"of": 3}, ', 1))
    plan = make_plan(load(job.directory / RECIPE_FILE))
    assert plan.trials is not None and plan.trials.run
    path.write_text("{")
    plan = make_plan(load(job.directory / RECIPE_FILE))
    assert plan.trials is not None and not plan.trials.run


# ---- without a run


def test_trials_take_45_seconds_or_a_fiftieth_of_the_run() -> None:
    """Whichever is less, counted from the first contender's first pass on."""
    from trainer.run.trials import Allowance

    now = [100.0]
    short = Allowance(1000, 0.5, forced=False, clock=lambda: now[0])
    assert short.has_passes(99) and short.spent == 0.0
    short.begin()
    short.took(0.1)
    assert short.seconds == pytest.approx(0.02 * 1000 * 0.2) and short.has_passes(39)
    now[0] += 3.75
    assert short.has_passes(2) and not short.has_passes(3)
    long = Allowance(100_000, 1.0, forced=False, clock=lambda: now[0])
    long.begin()
    long.took(1.0)
    assert long.seconds == 45.0
    forced = Allowance(1, 1.0, forced=True, clock=lambda: now[0])
    forced.begin()
    forced.took(1.0)
    assert forced.seconds == 45.0


def test_what_still_gets_faster_is_not_settled() -> None:
    from trainer.run.trials import is_settled

    assert not is_settled([9.0]) and not is_settled([9.0, 1.0])
    assert is_settled([9.0, 1.0, 0.97]) and is_settled([1.0, 1.1])


def test_there_may_be_no_way_back_from_float8() -> None:
    from trainer.plan.trials import Trial
    from trainer.run.trials import in_order

    trials_of = [Trial(8, 1, "none", True), Trial(8, 1, "none", False), Trial(4, 2, "none", True)]
    assert [each.float8 for each in in_order(trials_of)] == [False, True, True]
