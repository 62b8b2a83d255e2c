"""Runs on several ranks: torchrun's own agent, gloo and DDP on the CPU, the real worker, a tiny
model."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load

from jobs import job as jobs
from jobs.job import Job
from jobs.state import Failed
from models.run_folder import RECIPE_FILE
from tests.real.conftest import assert_gone, worker_and_below
from tests.real.forks import Forks, Outcome, events, outcome
from tests.real.test_repair import model_named
from trainer.plan.plan import make_plan
from trainer.recipe import load as load_recipe
from trainer.run.checkpoints import complete_checkpoints

pytestmark = [pytest.mark.real, pytest.mark.timeout(300)]

# 55 samples are trained on: 9 steps of 6 and one of 1 an epoch, in which a rank has nothing.
SHARED: dict[str, Any] = {
    "epochs": 2,
    "global_batch": 6,
    "dropout": 0.1,
    "evaluations": 2,
    "every_steps": 4,
    "heldout": 9,
}
EXACT = {**SHARED, "dropout": 0.0, "evaluations": 1}


def order(found: Outcome) -> dict[int, list[str]]:
    """The samples of each step: how they are dealt to ranks does not count."""
    return {step: sorted(rows) for step, rows in found.order.items()}


def log(job: Job) -> str:
    return (job.directory / "output.log").read_text()[-6000:]


@settings(deadline=None)
@given(st.integers(1, 70), st.integers(1, 4), st.integers(1, 4), st.integers(1, 4), st.booleans())
def test_every_rank_has_a_share_of_each_step(
    count: int, micro_batch: int, rounds: int, ranks: int, flat: bool
) -> None:
    """All ranks have equally many micro-batches, none too large, and a step's conversations are
    those of one process."""
    from trainer.distributed.rank_batches import RankBatches
    from trainer.kernels.padding_free import FlatBatches

    rows = [number * 31 % count for number in range(count)] if count % 31 else list(range(count))
    lengths = [1 + row * 7 % 50 for row in range(count)]
    made = (
        FlatBatches(rows, lengths, micro_batch, rounds, ranks)
        if flat
        else RankBatches(rows, micro_batch, rounds, ranks)
    )
    found = list(made)
    assert len(found) == len(made)
    assert len(found) % ranks == 0
    step = micro_batch * rounds * ranks
    for number, first in enumerate(range(0, len(found), rounds * ranks)):
        batches = found[first : first + rounds * ranks]
        assert flat or max(map(len, batches)) <= micro_batch
        assert sorted(row for batch in batches for row in batch if row >= 0) == sorted(
            rows[number * step : (number + 1) * step]
        )
        assert all(batch == [-1] or -1 not in batch for batch in batches)
        assert all(batches)


@pytest.fixture(scope="module")
def whole(forks: Forks) -> Outcome:
    """Two ranks that nothing interrupts."""
    job = forks.make(**SHARED, micro_batch=1, ranks=2)
    assert forks.work(job) == 0, log(job)
    return outcome(job)


def test_two_ranks_are_the_same_experiment(forks: Forks, whole: Outcome) -> None:
    """The same conversations in each step as in one process, the same losses and weights but for
    the noise of sums in another order."""
    alone, shared = forks.make(**EXACT, micro_batch=3), forks.make(**EXACT, micro_batch=1, ranks=2)
    assert forks.work(alone) == 0, log(alone)
    assert forks.work(shared) == 0, log(shared)
    one, two = outcome(alone), outcome(shared)
    assert order(two) == order(one) == order(whole)
    assert {step: loss for step, (loss, _) in two.steps.items()} == {
        step: pytest.approx(loss, abs=0.01) for step, (loss, _) in one.steps.items()
    }
    assert two.evaluations == {
        step: pytest.approx(loss, abs=0.005) for step, loss in one.evaluations.items()
    }
    weights, others = load(one.adapter), load(two.adapter)
    assert weights.keys() == others.keys()
    assert (
        max(
            float((others[name] - weight).norm() / weight.norm())
            for name, weight in weights.items()
        )
        < 0.05
    )
    assert len(events(shared, "sample")) == len(events(alone, "sample"))
    assert [event["step"] for event in events(shared, "step")] == list(range(1, 21))


def test_a_stop_stops_all_ranks_and_they_resume_exactly(forks: Forks, whole: Outcome) -> None:
    """With dropout: each rank has random numbers of its own, and goes on with them."""
    job = forks.make(**SHARED, micro_batch=1, ranks=2)
    assert forks.work(job, ["stop_ranks_in", 7]) == 0, log(job)
    assert not events(job, "result")
    (stopped,) = [event for event in events(job, "checkpoint") if event["reason"] == "stop"]
    assert stopped["step"] == 7
    assert complete_checkpoints(job.directory)[-1].step == 7
    assert forks.work(job) == 0, log(job)
    assert [event["step"] for event in events(job, "resumed")] == [7]
    assert outcome(job) == whole


def test_memory_that_one_rank_lacks_is_repaired_for_all(forks: Forks) -> None:
    model = model_named(forks, "two-ranks")
    calm, job = (forks.make(**EXACT, micro_batch=3, ranks=2, model=model) for _ in range(2))
    assert forks.work(calm) == 0, log(calm)
    assert (
        forks.work(
            job, ["on_rank", [1, "out_of_memory", {"where": "forward", "step": 6, "size": 1}]]
        )
        == 0
    ), log(job)
    (repair,) = events(job, "repair")
    assert (repair["step"], repair["micro_batch"], repair["accumulation"]) == (5, 1, 3)
    assert "rank 1: CUDA out of memory" in repair["reason"]
    assert [event["step"] for event in events(job, "resumed")] == [4]
    one, two = outcome(calm), outcome(job)
    assert order(two) == order(one)
    assert {step: loss for step, (loss, _) in two.steps.items()} == {
        step: pytest.approx(loss, abs=0.01) for step, (loss, _) in one.steps.items()
    }
    assert make_plan(load_recipe(job.directory / RECIPE_FILE)).compute.micro_batch == 1


def test_a_killed_rank_ends_the_job_with_the_reason_and_leaves_nothing(forks: Forks) -> None:
    """As `luthier train` starts it: a supervisor, a launcher and processes of their own for the
    ranks."""
    job = forks.make(**SHARED, micro_batch=1, ranks=2)
    jobs.start(job)
    while not events(job, "step"):
        assert job.alive(), f"{job.state()}\n{log(job)}"
        time.sleep(0.05)
    pids = worker_and_below(job)
    command_lines = {pid: Path(f"/proc/{pid}/cmdline").read_bytes() for pid in pids}
    ranks = [pid for pid, command in command_lines.items() if b"spawn_main" in command]
    os.kill(max(ranks), signal.SIGKILL)
    assert jobs.wait(job, 30)
    assert isinstance(state := job.state(), Failed)
    assert state.title == "Rank 1 was killed"
    assert "SIGKILL" in state.message
    assert_gone(pids)
