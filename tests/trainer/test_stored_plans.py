"""Plans and batches in the folders of jobs of earlier versions."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from trainer.plan import repair
from trainer.plan.compute import Batch, Compute, Reason
from trainer.plan.plan import Plan
from trainer.run.checkpoints import MEMORY_FILE, Checkpoint


@pytest.fixture
def stored() -> dict[str, Any]:
    """As the version before Compute wrote it: a run of four GPUs with shards."""
    path = Path(__file__).parent / "stored" / "plan-sharded.json"
    values: dict[str, Any] = json.loads(path.read_text())
    return values


def test_a_stored_plan_is_read(stored: dict[str, Any]) -> None:
    plan = Plan.from_json(stored)
    assert plan.compute == Compute(
        base_bits=16,
        gradient_checkpointing="standard",
        padding_free=True,
        micro_batch=4,
        accumulation=1,
        shards=4,
    )
    assert plan.reasons[0] == Reason("", stored["reasons"][0])
    assert [candidate.compute.micro_batch for candidate in plan.choices] == [4, 1]
    assert (plan.ranks, plan.choices[0].verdict) == (4, "chosen")


def test_what_it_is_written_as_now_says_the_same(stored: dict[str, Any]) -> None:
    now = Plan.from_json(stored).to_json()
    assert Plan.from_json(json.loads(json.dumps(now))) == Plan.from_json(stored)
    renamed = {"sharding", "reasons", "choices"}
    assert {key: now[key] for key in stored if key not in renamed} == {
        key: value for key, value in stored.items() if key not in renamed
    }


def test_a_plan_of_the_first_version_computes_as_it_did(stored: dict[str, Any]) -> None:
    """Whatever it did not decide has the value that there was then."""
    first = (
        *("model", "model_directory", "device", "engine", "conversations", "heldout"),
        *("global_batch", "micro_batch", "accumulation", "epochs", "steps", "slots"),
    )
    plan = Plan.from_json({key: stored[key] for key in first})
    assert plan.compute == Compute(micro_batch=4, accumulation=1)
    assert plan.reasons == [] and plan.ranks == 1


def test_the_batch_of_a_stored_checkpoint_is_taken(stored: dict[str, Any], tmp_path: Path) -> None:
    batch: Batch = {"micro_batch": 1, "accumulation": 4, "gradient_checkpointing": "standard"}
    (tmp_path / MEMORY_FILE).write_text(json.dumps({"total": 9, "batch": batch}))
    plan = Plan.from_json(stored).with_batch(Checkpoint(tmp_path, 3).memory["batch"])
    assert plan.compute.batch == batch
    assert plan.compute.shards == 4 and plan.compute.padding_free


def test_stored_repairs_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LUTHIER_HOME", str(tmp_path))
    shape = repair.Shape("base", "trl", repair.device_name(), 2048, 16)
    stored_batch = {"micro_batch": 2, "accumulation": 4, "gradient_checkpointing": "none"}
    entry = {
        "shape": {**shape.__dict__},
        "ran_out": {**stored_batch, "micro_batch": 4, "accumulation": 2},
        "batch": stored_batch,
        "run": "run-1",
        "t": 1_795_000_000,
    }
    (tmp_path / repair.REPAIRS_FILE).write_text(json.dumps([entry]))
    compute, why = repair.recall(shape, Compute(micro_batch=8, accumulation=1, attention="flex"))
    assert compute == Compute(micro_batch=2, accumulation=4, attention="flex")
    assert why == "micro-batch 2, because run run-1 ran out of memory at 4"
    (tmp_path / repair.REPAIRS_FILE).write_text(json.dumps([entry | {"batch": {}}]))
    compute = Compute(micro_batch=8, accumulation=1)
    assert repair.recall(shape, compute) == (compute, "")  # damaged: as if it were not there
