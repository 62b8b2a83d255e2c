"""Both engines on the same data: what reaches the model, what comes of it. Unsloth trains on the
CPU too, by transformers' model."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from safetensors.numpy import load_file

from jobs.job import Job
from models.adapters import check_servable, read_adapter
from models.stored_sample import UNTRAINED
from tests.real.forks import Forks, events, outcome
from tests.real.tiny import write_conversations

pytestmark = pytest.mark.real

SETTINGS: dict[str, Any] = {
    "epochs": 2,
    "global_batch": 8,
    "micro_batch": 4,
    "dropout": 0.0,
    "evaluations": 1,
}


def run(engine: Forks, **settings: Any) -> Job:
    job = engine.make(**{**SETTINGS, **settings})
    assert engine.work(job, ["watch_forward", "forward.json"]) == 0, (
        job.directory / "output.log"
    ).read_text()[-3000:]
    return job


def losses(job: Job) -> list[float]:
    return [event["loss"] for event in events(job, "step")]


def check_forward(job: Job) -> None:
    """The first micro-batch as the model got it: conversations as Luthier made them, each attended
    to by itself alone."""
    found = json.loads((job.directory / "forward.json").read_text())
    made = {
        tuple(row["input_ids"]): row["labels"]
        for row in map(json.loads, (job.directory / "data" / "train.jsonl").open())
    }
    assert len(found["ids"]) > 1
    assert [made[tuple(ids)] for ids in found["ids"]] == found["labels"]
    assert all(labels[0] == UNTRAINED and max(labels) > 0 for labels in found["labels"])
    # not one bit of another conversation's logits
    assert found["others"] == [0.0] * len(found["ids"])
    assert min(found["own"]) > 0.01
    assert max(found["alone"]) < 0.05


def test_a_flat_batch_reaches_the_model_as_luthier_made_it(forks: Forks) -> None:
    check_forward(run(forks))


def test_unsloth_gets_the_same_and_learns_the_same(forks: Forks, unsloth: Forks) -> None:
    """The same loss curve but for the noise of 16-bit sums, and an adapter of the same keys that
    tells the same base."""
    ours, theirs = run(forks), run(unsloth)
    check_forward(theirs)
    assert losses(theirs) == [pytest.approx(loss, abs=0.02) for loss in losses(ours)]
    assert losses(theirs)[-1] < losses(theirs)[0] - 0.5
    assert [event["tokens"] for event in events(theirs, "step")] == [
        event["tokens"] for event in events(ours, "step")
    ]
    assert [event["loss"] for event in events(theirs, "eval")] == [
        pytest.approx(e["loss"], abs=0.02) for e in events(ours, "eval")
    ]
    weights = [
        load_file(job.directory / "adapter" / "adapter_model.safetensors") for job in (ours, theirs)
    ]
    shapes = [{key: value.shape for key, value in one.items()} for one in weights]
    assert shapes[0] == shapes[1]
    configs = [
        json.loads((job.directory / "adapter" / "adapter_config.json").read_text())
        for job in (ours, theirs)
    ]
    modules = [config["target_modules"] for config in configs]
    # a set's order is each process's own
    assert modules == [each if isinstance(each, str) else sorted(each) for each in modules]
    # names or whole paths of the same
    assert {key for key in configs[0] if configs[0][key] != configs[1][key]} <= {"target_modules"}
    check_servable(read_adapter(theirs.directory / "adapter"), forks.model)


def test_unsloth_goes_on_exactly(unsloth: Forks) -> None:
    """Dropout, accumulation, a stop in the midst of an epoch; and memory that runs out."""
    settings = {**SETTINGS, "dropout": 0.1, "epochs": 1}
    whole, stopped = unsloth.make(**settings), unsloth.make(**settings)
    assert unsloth.work(whole) == 0
    assert unsloth.work(stopped, ["stop_in", ["step", 3]]) == 0
    assert unsloth.work(stopped) == 0
    assert outcome(stopped) == outcome(whole)
    short = unsloth.make(**settings, model=_named(unsloth))
    assert unsloth.work(short, ["out_of_memory", {"where": "forward", "step": 3, "size": 2}]) == 0
    assert [event["micro_batch"] for event in events(short, "repair")] == [2]
    assert outcome(short).order == outcome(whole).order


def test_unsloth_weighs_messages(forks: Forks, unsloth: Forks) -> None:
    settings = {
        **SETTINGS,
        "epochs": 1,
        "data": conversations(forks.folder / "weighed.jsonl", weighted=True),
    }
    jobs = [engine.make(**settings) for engine in (forks, unsloth)]
    assert [engine.work(job) for engine, job in zip((forks, unsloth), jobs, strict=True)] == [0, 0]
    assert losses(jobs[1]) == [pytest.approx(loss, abs=0.02) for loss in losses(jobs[0])]


def _named(engine: Forks) -> Path:
    path = engine.folder / "short-of-memory"
    path.symlink_to(engine.model)
    return path


def conversations(path: Path, weighted: bool) -> Path:
    """So many that the last global batch of an epoch is smaller."""
    rows = [json.loads(line) for line in write_conversations(path, 61).open()]
    for number, row in enumerate(rows):
        row["messages"][1]["weight"] = [0.25, 1.0, 2.0][number % 3] if weighted else 1.0
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.mark.parametrize("weighted", [False, True])
def test_flat_and_padded_batches_are_the_same_experiment(forks: Forks, weighted: bool) -> None:
    settings = {
        **SETTINGS,
        "epochs": 1,
        "data": conversations(forks.folder / f"layout-{weighted}.jsonl", weighted),
    }
    flat, padded = (forks.make(**settings, padding_free=value) for value in ("true", "false"))
    assert [forks.work(job) for job in (flat, padded)] == [0, 0]
    one, other = outcome(flat), outcome(padded)
    assert one.order == other.order
    assert {step: tokens for step, (_, tokens) in one.steps.items()} == {
        step: tokens for step, (_, tokens) in other.steps.items()
    }
    assert [loss for loss, _ in one.steps.values()] == [
        pytest.approx(loss, abs=0.02) for loss, _ in other.steps.values()
    ]
    assert one.evaluations == {
        step: pytest.approx(loss, abs=0.02) for step, loss in other.evaluations.items()
    }
    assert [event["epoch"] for event in events(flat, "step")] == [
        event["epoch"] for event in events(padded, "step")
    ]


_SAVED = """
import sys
from peft import LoraConfig, get_peft_model
from transformers import LlamaConfig, LlamaForCausalLM
from trainer.run.run_trainer import in_order
sizes = dict(vocab_size=32, hidden_size=8, intermediate_size=8)
config = LlamaConfig(**sizes, num_hidden_layers=1, num_attention_heads=2)
lora = LoraConfig(r=2, target_modules="all-linear", task_type="CAUSAL_LM")
model = get_peft_model(LlamaForCausalLM(config), lora)
in_order(model)
model.save_pretrained(sys.argv[1])
"""


def test_equal_adapters_are_saved_as_equal_bytes_whatever_order_a_process_gives_its_sets(
    tmp_path: Path,
) -> None:
    configs = set()
    for seed in ("1", "2"):
        folder = tmp_path / seed
        environment = {**os.environ, "PYTHONHASHSEED": seed}
        answer = subprocess.run(
            [sys.executable, "-c", _SAVED, str(folder)],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert answer.returncode == 0, answer.stderr[-2000:]
        configs.add((folder / "adapter_config.json").read_bytes())
    assert len(configs) == 1
