"""Runs of the real worker on a tiny model, in forks of one process (see forking.py), and what they
have come to."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from jobs.events import Event, parse_line
from jobs.job import Job, create
from models.run_folder import RECIPE_FILE
from tests.real.tiny import write_conversations, write_tiny_model
from trainer.launch import planned_spec
from trainer.plan.plan import make_plan
from trainer.recipe import load, to_toml

ROOT = Path(__file__).parents[2]
KILLED = -9

RECIPE = """
engine = "{engine}"
model = "{model}"
data = ["{data}"]
start_from = "{start}"
certify = false
[train]
epochs = {epochs}
learning_rate = {learning_rate}
global_batch = {global_batch}
micro_batch = {micro_batch}
padding_free = {padding_free}
{train}
[lora]
r = 4
dropout = {dropout}
{lora}
[tokens]
{tokens}
[heldout]
at_least = {heldout}
[evaluation]
times = {evaluations}
samples = 1
answer_tokens = 4
[checkpoints]
every_steps = {every_steps}
"""
# 56 samples are trained on: 14 steps of 4 an epoch, and the last epoch is half of one.
PLAIN: dict[str, Any] = {
    **{
        "epochs": 2.5,
        "global_batch": 4,
        "micro_batch": 2,
        "dropout": 0.1,
        "evaluations": 3,
        "every_steps": 2,
    },
    **{"heldout": 8, "padding_free": "true", "learning_rate": 0.01},
}
SECTIONS = {"train": "", "lora": "", "tokens": ""}  # further lines of these
REPAIRED: dict[str, Any] = {
    "epochs": 2,
    "global_batch": 8,
    "micro_batch": 4,
    "dropout": 0.0,
    "every_steps": 5,
}


class Forks:
    """Runs workers in forks of a process that has imported everything; writes runs' folders."""

    def __init__(self, folder: Path, engine: str = "trl") -> None:
        self.folder = folder
        self._engine = engine
        self.data = write_conversations(folder / "data.jsonl", 64)
        self.model = write_tiny_model(folder / "model")
        command = [sys.executable, "-m", "tests.real.forking", engine]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT
        )
        assert self._process.stdout is not None
        assert self._process.stdin is not None
        self._answers, self._orders = self._process.stdout, self._process.stdin
        assert self._answers.readline() == "ready\n"

    def make(
        self,
        sections: dict[str, str] | None = None,
        *,
        ranks: int = 1,
        sharding: str = "none",
        **settings: Any,
    ) -> Job:
        """A run's folder, as `luthier train` would write it. With several ranks it is as if the CPU
        were so many GPUs."""
        path = self.folder / "recipe.toml"
        values = {
            "engine": self._engine,
            "model": self.model,
            "data": self.data,
            "start": "",
            **PLAIN,
            **SECTIONS,
            **(sections or {}),
            **settings,
        }
        path.write_text(RECIPE.format(**values))
        recipe = load(path)
        plan = make_plan(recipe)
        share = plan.global_batch // ranks
        plan = replace(
            plan,
            gpus=ranks,
            compute=replace(
                plan.compute,
                shards=ranks if sharding == "fsdp2" else 1,
                micro_batch=min(plan.compute.micro_batch, share),
                accumulation=share // min(plan.compute.micro_batch, share),
            ),
        )
        job = create(planned_spec(recipe, plan))
        (job.directory / RECIPE_FILE).write_text(to_toml(recipe))
        return job

    def work(self, job: Job, *faults: list[Any], kill_after: float | None = None) -> int:
        """One attempt of the worker; its exit status."""
        order = {
            "job": str(job.directory),
            "kill_after": kill_after,
            "faults": [["record", "order.jsonl"], *faults],
        }
        self._orders.write(json.dumps(order) + "\n")
        self._orders.flush()
        return int(json.loads(self._answers.readline())["code"])

    def close(self) -> None:
        self._orders.close()
        self._process.wait()


@dataclass(frozen=True)
class Outcome:
    """What must be the same, however often a run was interrupted: the weights of what it left (an
    adapter or a model), and the events. `steps` are (loss, tokens), `order` the samples of each
    step."""

    adapter: bytes
    steps: dict[int, tuple[float, int]]
    evaluations: dict[int, float]
    order: dict[int, list[str]]
    result: dict[str, Any]


def events(job: Job, *kinds: str) -> list[Event]:
    found = [
        event
        for line in job.events_path.read_bytes().splitlines()
        if (event := parse_line(line)) is not None
    ]
    return [event for event in found if not kinds or event["kind"] in kinds]


def outcome(job: Job) -> Outcome:
    """What a finished run has come to; what a resume superseded does not count."""
    steps: dict[int, tuple[float, int]] = {}
    evaluations: dict[int, float] = {}
    for event in events(job, "step", "eval", "resumed"):
        if event["kind"] == "resumed":
            steps = {step: value for step, value in steps.items() if step <= event["step"]}
            evaluations = {
                step: value for step, value in evaluations.items() if step <= event["step"]
            }
        elif event["kind"] == "step":
            assert event["step"] not in steps
            steps[event["step"]] = (event["loss"], event["tokens"])
        else:
            evaluations[event["step"]] = event["loss"]
    order: dict[int, list[str]] = {}
    for step, hashes in map(json.loads, (job.directory / "order.jsonl").read_text().splitlines()):
        order[step] = [*order.get(step, []), *hashes]
    # every epoch is a multiple of it, and a step may have been computed more than once
    size = int(job.spec.settings["global_batch"])
    # how a step is cut into micro-batches changes nothing
    last = {step: sorted(hashes[-size:]) for step, hashes in order.items()}
    (result,) = events(job, "result")
    (left,) = (
        job.directory / name
        for name in ("adapter/adapter_model.safetensors", "model/model.safetensors")
        if (job.directory / name).is_file()
    )
    adapter = left.read_bytes()
    return Outcome(
        adapter,
        steps,
        evaluations,
        last,
        {
            key: value
            for key, value in result.items()
            if key not in ("t", "seconds", "adapter", "model")
        },
    )
