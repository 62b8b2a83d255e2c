"""Runs that learn preferences: the real worker on a tiny model."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from jobs.job import Job
from models.adapters import check_servable, read_adapter
from models.run_folder import RunFolder
from tests.real.forks import KILLED, Forks, Outcome, events, outcome

pytestmark = [pytest.mark.real, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def pairs(forks: Forks) -> Path:
    """Chosen answers shout, rejected ones do not; half of the prompts have two turns before."""
    rows = [json.loads(line) for line in forks.data.read_text().splitlines()]
    path = forks.folder / "pairs.jsonl"
    with path.open("w") as file:
        for number, row in enumerate(rows):
            answer = row["messages"][-1]["content"]
            history = [
                {"role": "user", "content": "hello"},
                {"role": "assistant", "content": f"hello {number}"},
            ]
            pair = {
                "prompt": [*(history if number % 2 else []), *row["messages"][:-1]],
                "chosen": [{"role": "assistant", "content": answer.upper()}],
                "rejected": [{"role": "assistant", "content": answer}],
            }
            file.write(json.dumps(pair) + "\n")
    return path


def make(forks: Forks, pairs: Path, kind: str, **settings: Any) -> Job:
    return forks.make(
        {"train": f'[objective]\nkind = "{kind}"'},
        **{"data": pairs, "padding_free": "false", "epochs": 1, "evaluations": 2, **settings},
    )


@pytest.fixture(scope="module", params=["dpo", "orpo", "kto"])
def uninterrupted(
    forks: Forks, pairs: Path, request: pytest.FixtureRequest
) -> tuple[str, Outcome, Job]:
    """Runs that nothing interrupts."""
    job = make(forks, pairs, request.param)
    assert forks.work(job) == 0
    return request.param, outcome(job), job


def test_it_learns_what_is_preferred(uninterrupted: tuple[str, Outcome, Job]) -> None:
    kind, run, job = uninterrupted
    steps = events(job, "step")
    first, last = steps[0], steps[-1]
    assert last["reward_margin"] > first["reward_margin"]
    evaluations = events(job, "eval")
    assert evaluations[-1]["metrics"]["heldout_margin"] > 0
    assert run.evaluations[max(run.evaluations)] < run.evaluations[0]
    if kind == "kto":
        assert all(step["kl"] >= 0 for step in steps)
    else:
        assert evaluations[-1]["metrics"]["heldout_accuracy"] > 0.9
    check_servable(read_adapter(RunFolder(job.directory).adapter), forks_model(job))


def forks_model(job: Job) -> Path:
    return Path(str(job.spec.settings["model_directory"]))


def test_stops_and_kills_change_nothing(
    forks: Forks, pairs: Path, uninterrupted: tuple[str, Outcome, Job]
) -> None:
    """To the last bit of the adapter, losses and evaluations; with dropout."""
    kind, expected, _ = uninterrupted
    job = make(forks, pairs, kind)
    assert forks.work(job, ["stop_in", ["step", 3]]) == 0
    assert forks.work(job, ["kill_in_save", ["before the rename", 2]]) == KILLED
    assert forks.work(job, ["stop_in", ["step", 12]]) == 0
    assert forks.work(job) == 0
    assert outcome(job) == expected


def test_before_the_first_step_a_model_is_its_reference(forks: Forks, pairs: Path) -> None:
    """From an adapter, too: the reference is what the run starts from, and not the bare base."""
    first = make(forks, pairs, "dpo")
    assert forks.work(first) == 0
    adapter = RunFolder(first.directory).adapter
    job = make(forks, pairs, "dpo", start=adapter)
    assert forks.work(job) == 0
    untrained = events(job, "eval")[0]
    assert untrained["loss"] == pytest.approx(math.log(2), abs=1e-6)
    assert untrained["metrics"]["heldout_margin"] == 0
    assert untrained["metrics"]["heldout_kl"] == 0
    scores, base_scores = (
        json.loads(RunFolder(run.directory).reference_scores("train").read_text())["scores"]
        for run in (job, first)
    )
    assert len(scores) == len(base_scores)
    # what the first run has learned its successor's reference knows
    assert all(pair[0] > base[0] for pair, base in zip(scores, base_scores, strict=True))
    copy = RunFolder(job.directory).first_adapter / "adapter_model.safetensors"
    assert copy.read_bytes() == (adapter / "adapter_model.safetensors").read_bytes()
    left = RunFolder(job.directory).adapter / "adapter_model.safetensors"
    assert left.read_bytes() != copy.read_bytes()
    check_servable(read_adapter(left.parent), forks_model(job))


def test_every_weight_can_learn_from_pairs(forks: Forks, pairs: Path) -> None:
    """The reference is asked before the first step; a run that goes on has its figures."""

    def full() -> Job:
        return forks.make(
            {"train": 'method = "full"\n[objective]\nkind = "dpo"'},
            **dict[str, Any](
                data=pairs, padding_free="false", epochs=1, evaluations=2, learning_rate=0.001
            ),
        )

    job, interrupted = full(), full()
    assert forks.work(job) == 0
    assert events(job, "eval")[0]["loss"] == pytest.approx(math.log(2), abs=1e-6)
    assert events(job, "eval")[-1]["metrics"]["heldout_accuracy"] > 0.9
    assert forks.work(interrupted, ["stop_in", ["step", 7]]) == 0
    assert forks.work(interrupted) == 0
    assert outcome(interrupted) == outcome(job)
