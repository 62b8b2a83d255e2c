"""Runs that are stopped, killed, run out of memory or explode: the real worker, on a tiny model, hundreds of times over (see forking.py)."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from jobs.errors import LuthierError
from jobs.events import Event, parse_line
from jobs.job import Job, create
from jobs.state import Done, Failed, Stopped
from models.adapters import check_servable, read_adapter
from tests.real.tiny import write_conversations, write_tiny_model
from trainer import launch
from trainer.checkpoints import checkpoints_folder, complete_checkpoints
from trainer.launch import RECIPE_FILE, run_spec
from trainer.plan import make_plan
from trainer.recipe import load, to_toml

pytestmark = pytest.mark.real

ROOT = Path(__file__).parents[2]
KILLED = -9

RECIPE = """
model = "{model}"
data = ["{data}"]
[train]
epochs = {epochs}
learning_rate = 1e-2
global_batch = {global_batch}
micro_batch = {micro_batch}
[lora]
r = 4
dropout = {dropout}
[heldout]
at_least = 8
[evaluation]
times = {evaluations}
samples = 1
answer_tokens = 4
[checkpoints]
every_steps = {every_steps}
"""
# 56 samples are trained on: 14 steps of 4 an epoch, and the last epoch is half of one.
PLAIN: dict[str, Any] = {"epochs": 2.5, "global_batch": 4, "micro_batch": 2, "dropout": 0.1, "evaluations": 3, "every_steps": 2}


class Forks:
    """Runs workers in forks of a process that has imported everything; writes runs' folders."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.data = write_conversations(folder / "data.jsonl", 64)
        self.model = write_tiny_model(folder / "model")
        command = [sys.executable, "-m", "tests.real.forking"]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT)
        assert self._process.stdout is not None
        assert self._process.stdin is not None
        self._answers, self._orders = self._process.stdout, self._process.stdin
        assert self._answers.readline() == "ready\n"

    def make(self, **settings: Any) -> Job:
        """A run's folder, as `luthier train` would write it."""
        path = self.folder / "recipe.toml"
        path.write_text(RECIPE.format(**{"model": self.model, "data": self.data, **PLAIN, **settings}))
        recipe = load(path)
        job = create(run_spec(recipe))
        (job.directory / RECIPE_FILE).write_text(to_toml(recipe))
        return job

    def work(self, job: Job, *faults: list[Any], kill_after: float | None = None) -> int:
        """One attempt of the worker; its exit status."""
        order = {"job": str(job.directory), "kill_after": kill_after, "faults": [["record", "order.jsonl"], *faults]}
        self._orders.write(json.dumps(order) + "\n")
        self._orders.flush()
        return int(json.loads(self._answers.readline())["code"])

    def close(self) -> None:
        self._orders.close()
        self._process.wait()


@pytest.fixture(scope="module")
def forks(luthier_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Forks]:
    made = Forks(tmp_path_factory.mktemp("survival"))
    yield made
    made.close()


@dataclass(frozen=True)
class Outcome:
    """What must be the same, however often a run was interrupted. `steps` are (loss, tokens), `order` the samples of each step."""

    adapter: bytes
    steps: dict[int, tuple[float, int]]
    evaluations: dict[int, float]
    order: dict[int, list[str]]
    result: dict[str, Any]


def events(job: Job, *kinds: str) -> list[Event]:
    found = [event for line in job.events_path.read_bytes().splitlines() if (event := parse_line(line)) is not None]
    return [event for event in found if not kinds or event["kind"] in kinds]


def outcome(job: Job) -> Outcome:
    """What a finished run has come to; what a resume superseded does not count."""
    steps: dict[int, tuple[float, int]] = {}
    evaluations: dict[int, float] = {}
    for event in events(job, "step", "eval", "resumed"):
        if event["kind"] == "resumed":
            steps = {step: value for step, value in steps.items() if step <= event["step"]}
            evaluations = {step: value for step, value in evaluations.items() if step <= event["step"]}
        elif event["kind"] == "step":
            assert event["step"] not in steps
            steps[event["step"]] = (event["loss"], event["tokens"])
        else:
            evaluations[event["step"]] = event["loss"]
    order: dict[int, list[str]] = {}
    for step, hashes in map(json.loads, (job.directory / "order.jsonl").read_text().splitlines()):
        order[step] = [*order.get(step, []), *hashes]
    size = int(job.spec.settings["global_batch"])  # every epoch is a multiple of it, and a step may have been computed more than once
    last = {step: hashes[-size:] for step, hashes in order.items()}
    (result,) = events(job, "result")
    adapter = (job.directory / "adapter" / "adapter_model.safetensors").read_bytes()
    return Outcome(
        adapter, steps, evaluations, last, {key: value for key, value in result.items() if key not in ("t", "seconds", "adapter")}
    )


@pytest.fixture(scope="module")
def whole(forks: Forks) -> Outcome:
    """The run that nothing interrupts."""
    job = forks.make()
    assert forks.work(job) == 0
    return outcome(job)


def test_the_run_that_nothing_interrupts(whole: Outcome) -> None:
    assert list(whole.steps) == list(range(1, 36))
    assert sorted(whole.evaluations) == [0, 12, 24, 35]
    assert whole.steps[35][0] < whole.steps[1][0] - 1.0
    epochs = [sorted(sample for step in range(first, first + 14) for sample in whole.order[step]) for first in (1, 15)]
    assert epochs[0] == epochs[1]
    assert len(set(epochs[0])) == 56


def test_stops_anywhere_change_nothing(forks: Forks, whole: Outcome) -> None:
    """In the first step, in the midst of an epoch, at its end, in an evaluation, in the last step but one."""
    job = forks.make()
    stops = [["step", 1], ["step", 5], ["evaluation", 12], ["step", 14], ["step", 23], ["evaluation", 24], ["step", 34]]
    for where, step in stops:
        assert forks.work(job, ["stop_in", [where, step]]) == 0
        assert not events(job, "result")
        checkpoint = events(job, "checkpoint")[-1]
        assert (checkpoint["step"], checkpoint["reason"]) == (step, "stop")
        assert any("saving a checkpoint" in event["name"] for event in events(job, "phase"))
    assert forks.work(job) == 0
    assert outcome(job) == whole
    assert [event["step"] for event in events(job, "resumed")] == [step for _, step in stops]


def test_what_is_kept_and_that_it_can_be_served(forks: Forks, whole: Outcome) -> None:
    """The best and the last two; each is an adapter. The best may be the result."""
    job = forks.make(every_steps=3)
    assert forks.work(job) == 0
    events_of_evaluations = {step: loss for step, loss in outcome(job).evaluations.items() if step}
    best = min(events_of_evaluations, key=lambda step: events_of_evaluations[step])
    kept = [checkpoint.step for checkpoint in complete_checkpoints(job.directory)]
    assert kept == sorted({best, 33, 35})
    assert outcome(job).adapter == whole.adapter
    for checkpoint in complete_checkpoints(job.directory):
        check_servable(read_adapter(checkpoint.path), forks.model)
        assert not [path.name for path in checkpoint.path.iterdir() if path.suffix == ".bin"]
    card = json.loads((job.directory / "adapter" / "card.json").read_text())
    assert (card["step"], card["which"], card["run"]) == (35, "last", job.id)


IN_SAVES = [
    ("half of the optimizer", 1),
    ("half of the optimizer", 3),
    ("before the memory", 2),
    ("before the rename", 2),
    ("before COMPLETE", 1),
    ("before COMPLETE", 2),
    ("in a removal", 1),
    ("in a removal", 2),
    ("in the adapter", 1),
]


def test_25_kills_change_nothing(forks: Forks, whole: Outcome) -> None:
    """kill -9 at random moments, and in each place of a save, over as many runs as that takes; each ends as if nothing had been."""
    chance = random.Random(4)
    kills: list[list[Any] | float] = [["kill_in_save", [place, number]] for place, number in IN_SAVES[:-1]]
    kills += [round(chance.uniform(0.02, 1.6), 3) for _ in range(17)]
    chance.shuffle(kills)
    in_saves, at_random, runs = 0, 0, 0
    while kills:
        job = forks.make(every_steps=chance.choice([1, 2, 3]))
        runs += 1
        while kills:
            kill = kills.pop()
            before = [checkpoint.step for checkpoint in complete_checkpoints(job.directory)]
            code = forks.work(job, kill) if isinstance(kill, list) else forks.work(job, kill_after=kill)
            if code == 0:  # it was quicker: this one is for the next run
                kills.append(kill)
                break
            assert code == KILLED, (kill, (job.directory / "output.log").read_text()[-3000:])
            in_saves, at_random = in_saves + isinstance(kill, list), at_random + isinstance(kill, float)
            _loses_nothing_complete(job, before)
        else:
            assert forks.work(job, ["kill_in_save", list(IN_SAVES[-1])]) == KILLED
            in_saves += 1
            assert forks.work(job) == 0
        assert outcome(job) == whole
        assert not (checkpoints_folder(job.directory) / ".saving").exists() or not list(
            (checkpoints_folder(job.directory) / ".saving").iterdir()
        )
    print(f"{in_saves} kills in saves, {at_random} at random moments, {runs} runs")
    assert (in_saves, at_random) == (9, 17)


def _loses_nothing_complete(job: Job, before: list[int]) -> None:
    """After a kill the newest complete checkpoint is whole and no older than the one before, and than the last that was told of."""
    checkpoints = complete_checkpoints(job.directory)
    told = [event["step"] for event in events(job, "checkpoint")]
    newest = checkpoints[-1].step if checkpoints else 0
    assert newest >= max([0, *before, *told[-1:]])
    if checkpoints:
        assert checkpoints[-1].intact()
