"""Runs that learn from a teacher by their own answers: the real worker on a tiny model."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from jobs.job import Job
from models.adapters import check_servable, read_adapter
from models.run_folder import RECIPE_FILE, RunFolder
from tests.real.forks import KILLED, Forks, Outcome, events, outcome

pytestmark = [pytest.mark.real, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def teacher(forks: Forks) -> Path:
    """The adapter of a run that has learned the data."""
    job = forks.make(epochs=2, evaluations=0)
    assert forks.work(job) == 0
    return RunFolder(job.directory).adapter


def make(forks: Forks, teacher: Path, keys: str = "", **settings: Any) -> Job:
    objective = f'[objective]\nkind = "distill"\nteacher = "{teacher}"\nsample_tokens = 24\n{keys}'
    return forks.make(
        {"train": objective},
        **{"padding_free": "false", "epochs": 1, "evaluations": 2, **settings},
    )


@pytest.fixture(scope="module")
def uninterrupted(forks: Forks, teacher: Path) -> tuple[Outcome, Job]:
    """A run that nothing interrupts."""
    job = make(forks, teacher)
    assert forks.work(job) == 0, job.log_path.read_text()[-3000:]
    return outcome(job), job


def test_it_comes_nearer_to_its_teacher(uninterrupted: tuple[Outcome, Job]) -> None:
    _, job = uninterrupted
    first, *_, last = events(job, "eval")
    assert last["metrics"]["heldout_kl"] < 0.5 * first["metrics"]["heldout_kl"]
    assert last["loss"] == last["metrics"]["heldout_kl"]
    steps = events(job, "step")
    assert all(step["kl"] == pytest.approx(step["loss"], rel=1e-3, abs=1e-4) for step in steps)
    assert all(0 < step["sample_length"] <= 24 for step in steps)
    assert all(0 <= step["sample_stopped"] <= 1 for step in steps)
    base = Path(str(job.spec.settings["model_directory"]))
    check_servable(read_adapter(RunFolder(job.directory).adapter), base)


def test_stops_and_kills_change_nothing(
    forks: Forks, teacher: Path, uninterrupted: tuple[Outcome, Job]
) -> None:
    """To the last bit of the adapter, losses and evaluations; with dropout, and with answers that
    are sampled."""
    expected, _ = uninterrupted
    job = make(forks, teacher)
    assert forks.work(job, ["stop_in", ["step", 3]]) == 0
    assert forks.work(job, ["kill_in_save", ["before the rename", 2]]) == KILLED
    assert forks.work(job, ["stop_in", ["step", 12]]) == 0
    assert forks.work(job) == 0
    assert outcome(job) == expected


def test_the_data_may_answer_a_share(forks: Forks, teacher: Path) -> None:
    """Which ones are the model's own is drawn by the step, so that a stop changes nothing."""
    keys = "on_policy = 0.5\ntemperature = 1.5"
    job, interrupted = (make(forks, teacher, keys, epochs=0.5) for _ in range(2))
    assert forks.work(job) == 0
    assert forks.work(interrupted, ["stop_in", ["step", 3]]) == 0
    assert forks.work(interrupted) == 0
    assert outcome(interrupted) == outcome(job)
    off = make(forks, teacher, "on_policy = 0", epochs=0.5, evaluations=0)
    assert forks.work(off) == 0
    assert not events(off, "weight_sync")
    assert not any("sample_length" in step for step in events(off, "step"))
    losses = [step["loss"] for step in events(off, "step")]
    assert losses[-1] < losses[0]


def test_every_weight_can_learn_from_a_teacher(forks: Forks, teacher: Path) -> None:
    objective = f'method = "full"\n[objective]\nkind = "distill"\nteacher = "{teacher}"'
    job = forks.make(
        {"train": f"{objective}\nsample_tokens = 24"},
        **dict[str, Any](padding_free="false", epochs=0.5, evaluations=2, learning_rate=0.001),
    )
    assert forks.work(job) == 0
    first, *_, last = events(job, "eval")
    assert last["loss"] < first["loss"]
    syncs = events(job, "weight_sync")
    assert all(sync["ok"] and "effect" not in sync for sync in syncs)


def test_another_vocabulary_stops_the_worker_too(forks: Forks, teacher: Path) -> None:
    """Where the plan could not read it."""
    job = make(forks, teacher)
    recipe = job.directory / RECIPE_FILE
    other = forks.folder / "other"
    if not other.exists():
        shutil.copytree(forks.model, other)
        tokenizer = other / "tokenizer.json"
        tokenizer.write_text(tokenizer.read_text().replace("<|im_start|>", "<|begin|>"))
    recipe.write_text(recipe.read_text().replace(str(teacher), str(other)))
    assert forks.work(job) != 0
    (error,) = events(job, "error")
    assert error["title"] == "The teacher has another tokenizer"
    assert "differ in 2 tokens" in error["message"]
    assert not events(job, "step")


# ---- the check at each sync


def test_each_sync_is_proved(uninterrupted: tuple[Outcome, Job]) -> None:
    """Once for each set of weights, and with the share of the adapter's effect as soon as it can be
    told."""
    _, job = uninterrupted
    syncs = events(job, "weight_sync")
    assert [sync["step"] for sync in syncs] == sorted({sync["step"] for sync in syncs})
    assert {step["step"] - 1 for step in events(job, "step")} <= {sync["step"] for sync in syncs}
    assert all(sync["ok"] and sync["sampled"] == sync["trained"] for sync in syncs)
    # the first step's learning rate is 0
    assert len({sync["trained"] for sync in syncs}) == len(syncs) - 1
    assert all(sync["difference"] <= sync["bound"] for sync in syncs)
    assert all(sync["tokens"] > 0 for sync in syncs)
    assert syncs[0]["effect"] == 0  # a fresh adapter
    assert "shown" not in syncs[0]
    effects = [sync["shown"] for sync in syncs if "shown" in sync]
    assert effects
    assert all(abs(share - 1) < 0.2 for share in effects)


@pytest.mark.parametrize("knows_it", [True, False])
def test_a_sampler_that_keeps_the_base_stops_the_run(
    forks: Forks, teacher: Path, knows_it: bool
) -> None:
    """By its fingerprint before the first step; by its log-probabilities as soon as the adapter has
    an effect, where the fingerprint lies."""
    job = make(forks, teacher, learning_rate=3e-4)
    assert forks.work(job, ["sampler_keeps_the_base", knows_it]) != 0
    (error,) = events(job, "error")
    assert error["title"] == "The sampler does not have the student's weights"
    failed = events(job, "weight_sync")[-1]
    assert not failed["ok"]
    steps = len(events(job, "step"))
    if knows_it:
        assert steps == 0
        assert "no adapter" in error["message"]
    else:
        assert failed["sampled"] == failed["trained"]
        assert failed["shown"] < failed["least"]
        assert steps < 10


def test_a_sampler_that_is_a_step_behind_stops_the_run(forks: Forks, teacher: Path) -> None:
    job = make(forks, teacher)
    assert forks.work(job, ["sampler_keeps_old_weights", None]) != 0
    (error,) = events(job, "error")
    assert "it holds other weights" in error["message"]
    assert len(events(job, "step")) == 2  # the first one's learning rate is 0
