"""Runs on several ranks: torchrun's own agent, gloo and DDP on the CPU, the real worker, a tiny model."""

from __future__ import annotations

import pytest
from safetensors.torch import load

from tests.real.forks import Forks, Outcome, events, outcome
from trainer.checkpoints import complete_checkpoints

pytestmark = pytest.mark.real

# 55 samples are trained on: 9 steps of 6 and one of 1 an epoch, of which one rank has nothing.
SHARED = {"epochs": 2, "global_batch": 6, "micro_batch": 1, "dropout": 0.0, "evaluations": 2, "every_steps": 4, "heldout": 9}


@pytest.fixture(scope="module")
def alone(forks: Forks) -> Outcome:
    job = forks.make(**SHARED)
    assert forks.work(job) == 0
    return outcome(job)


def test_two_ranks_are_the_same_experiment(forks: Forks, alone: Outcome) -> None:
    """The same conversations in each step, the same losses and weights but for the noise of 16-bit sums, one folder."""
    job = forks.make(**SHARED, ranks=2)
    assert forks.work(job) == 0, (job.directory / "output.log").read_text()[-6000:]
    shared = outcome(job)
    assert {step: sorted(rows) for step, rows in shared.order.items()} == {step: sorted(rows) for step, rows in alone.order.items()}
    print(max(abs(shared.steps[s][0] - alone.steps[s][0]) for s in alone.steps), shared.evaluations, alone.evaluations)
    print(shared.result, alone.result)
    one, two = load(alone.adapter), load(shared.adapter)
    print(max(float((two[n].float() - one[n].float()).norm() / one[n].float().norm()) for n in one))
