"""Runs whose ranks each hold a share of every weight: torchrun's own agent, gloo and FSDP2 on the
CPU, the real worker, a tiny model."""

from __future__ import annotations

import json
from typing import Any

import pytest
from safetensors.torch import load

from jobs.job import Job
from tests.real.forks import Forks, Outcome, events, outcome
from tests.real.test_ranks import EXACT, SHARED, log, order
from trainer.run.checkpoints import complete_checkpoints

pytestmark = [pytest.mark.real, pytest.mark.timeout(300)]

TWO: dict[str, Any] = {"micro_batch": 1, "ranks": 2}
# Named: "auto" measures, and on a busy machine two runs may compute in different types.
LORA = {"train": 'compute_dtype = "bfloat16"'}
FULL = {"train": 'method = "full"\ncompute_dtype = "bfloat16"'}


def trained(forks: Forks, job: Job) -> Outcome:
    assert forks.work(job) == 0, log(job)
    return outcome(job)


def apart(one: bytes, two: bytes) -> float:
    """By how much of its size a weight differs at most."""
    weights, others = load(one), load(two)
    assert {name: (weight.shape, weight.dtype) for name, weight in weights.items()} == {
        name: (weight.shape, weight.dtype) for name, weight in others.items()
    }
    return max(
        float((others[name] - weight).norm() / weight.norm()) for name, weight in weights.items()
    )


def losses(found: Outcome, tolerance: float | None = None) -> dict[int, Any]:
    return {
        step: loss if tolerance is None else pytest.approx(loss, abs=tolerance)
        for step, (loss, _) in found.steps.items()
    }


def test_shards_are_the_same_experiment_as_whole_copies(forks: Forks) -> None:
    """With gradient accumulation, a last step in which a rank has nothing, and an adapter that PEFT
    would write."""
    whole, shared = (
        forks.make(LORA, **{**EXACT, "epochs": 1}, **TWO, sharding=kind)
        for kind in ("none", "fsdp2")
    )
    one, two = trained(forks, whole), trained(forks, shared)
    assert order(two) == order(one)
    assert losses(two) == losses(one, 0.005)
    assert two.evaluations == {
        step: pytest.approx(loss, abs=0.002) for step, loss in one.evaluations.items()
    }
    assert apart(one.adapter, two.adapter) < 0.02
    norms = [
        {event["step"]: event["grad_norm"] for event in events(job, "step")}
        for job in (whole, shared)
    ]
    assert norms[1] == {step: pytest.approx(norm, rel=0.03) for step, norm in norms[0].items()}
    assert [event["answer"] for event in events(shared, "sample")] == [
        event["answer"] for event in events(whole, "sample")
    ]
    configs = [
        json.loads((job.directory / "adapter" / "adapter_config.json").read_text())
        for job in (whole, shared)
    ]
    assert configs[1] == configs[0]


def test_every_weight_is_trained_in_shards(forks: Forks) -> None:
    """And the run leaves a model with the tensors that one process would leave; FSDP2 computes
    norms and the residual stream in 16 bits."""
    settings = {**EXACT, "epochs": 1}
    one, two = (
        trained(forks, forks.make(FULL, **settings, micro_batch=2)),
        trained(forks, forks.make(FULL, **settings, **TWO, sharding="fsdp2")),
    )
    assert losses(two) == losses(one, 0.02)
    assert apart(one.adapter, two.adapter) < 0.02


def test_a_run_in_shards_stops_fails_and_resumes_exactly(forks: Forks) -> None:
    """With dropout. A stop that only one rank knows of, in the midst of the answers, stops both; so
    does a NaN in the shard of one."""
    settings = {**SHARED, "epochs": 1, **TWO, "sharding": "fsdp2"}
    expected, job = trained(forks, forks.make(**settings)), forks.make(**settings)
    assert forks.work(job, ["on_rank", [1, "stop_in_answers", 5]]) == 0, log(job)
    assert [event["step"] for event in events(job, "checkpoint") if event["reason"] == "stop"] == [
        5
    ]
    assert forks.work(job, ["on_rank", [1, "spoil_weights", 8]]) == 1, log(job)
    assert "The weights became NaN or infinite in step 8." in log(job)
    assert complete_checkpoints(job.directory)[-1].step == 5
    assert trained(forks, job) == expected
    assert [event["step"] for event in events(job, "resumed")] == [5, 5]
