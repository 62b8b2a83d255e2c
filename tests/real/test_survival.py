"""Runs that are stopped, killed, run out of memory or explode: the real worker, over and over (see forking.py)."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from jobs import job as jobs
from jobs.errors import LuthierError
from jobs.events import Event, parse_line
from jobs.job import Job, create
from jobs.state import Done, Failed, Lost, Queued, Running, Starting, Stopped
from models.adapters import check_servable, read_adapter
from tests.real.conftest import assert_gone
from tests.real.tiny import write_conversations, write_tiny_model
from trainer import launch
from trainer.checkpoints import checkpoints_folder, complete_checkpoints
from trainer.launch import RECIPE_FILE, run_spec
from trainer.plan import make_plan
from trainer.recipe import load, to_toml
from trainer.resume import Changed

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


# ---- out of memory


REPAIRED: dict[str, Any] = {"epochs": 2, "global_batch": 8, "micro_batch": 4, "dropout": 0.0, "every_steps": 5}


def model_named(forks: Forks, name: str) -> Path:
    """The same model under another name: what is remembered of it is another shape's."""
    path = forks.folder / name
    path.symlink_to(forks.model)
    return path


def test_out_of_memory_changes_the_micro_batch_and_nothing_else(forks: Forks) -> None:
    """From step 4 on memory is for two conversations, from step 9 on for one: the same samples in the same steps, the same losses but for
    the noise of 16-bit sums; the next run of that shape begins with what was found, and says why."""
    model = model_named(forks, "repaired")
    calm = forks.make(**REPAIRED, model=model)
    assert forks.work(calm) == 0
    job = forks.make(**REPAIRED, model=model)
    faults = [["out_of_memory", {"where": "forward", "step": step, "size": size}] for step, size in ((4, 2), (9, 1))]
    assert forks.work(job, *faults, ["count_models", "models"]) == 0
    assert (job.directory / "models").read_text().split() == ["0", "0", "0"]  # the memory of the old one is free before the next
    repairs = [(event["step"], event["what"], event["micro_batch"], event["accumulation"]) for event in events(job, "repair")]
    assert repairs == [(3, "micro_batch", 2, 4), (8, "micro_batch", 1, 8)]
    assert all("out of memory" in event["reason"] for event in events(job, "repair"))
    assert not events(job, "resumed")
    one, other = outcome(calm), outcome(job)
    assert other.order == one.order
    assert [other.steps[step] for step in (1, 2, 3)] == [one.steps[step] for step in (1, 2, 3)]
    for step, (loss, tokens) in one.steps.items():
        assert other.steps[step] == (pytest.approx(loss, abs=0.02), tokens)
    assert other.evaluations == {step: pytest.approx(loss, abs=0.02) for step, loss in one.evaluations.items()}
    plan = make_plan(load(job.directory / RECIPE_FILE))
    assert (plan.micro_batch, plan.accumulation, plan.global_batch) == (1, 8, 8)
    assert plan.repaired == f"micro-batch 1, because run {job.id} ran out of memory at 2"
    assert make_plan(load(forks.make(**PLAIN).directory / RECIPE_FILE)).repaired == ""


def test_a_repaired_run_goes_on_repaired(forks: Forks) -> None:
    """Stopped after its repair, it goes on with the batch it was repaired to, bit for bit; the plan still says the one it began with."""
    fault = ["out_of_memory", {"where": "forward", "step": 4, "size": 2}]
    whole = forks.make(**REPAIRED, model=model_named(forks, "goes-on"))
    assert forks.work(whole, fault) == 0
    job = forks.make(**REPAIRED, model=model_named(forks, "goes-on-too"))
    assert forks.work(job, fault, ["stop_in", ["step", 6]]) == 0
    assert forks.work(job, ["kill_in_save", ["before COMPLETE", 1]]) == KILLED
    assert forks.work(job) == 0
    assert outcome(job) == outcome(whole)
    assert job.spec.settings["micro_batch"] == 4


@pytest.mark.parametrize("step", [1, 8])
def test_out_of_memory_while_the_weights_change(forks: Forks, step: int) -> None:
    """The half changed weights are not gone on with: the run returns to its last checkpoint, or to the beginning."""
    settings = {**REPAIRED, "evaluations": 0, "model": model_named(forks, f"optimizer-{step}")}
    calm = forks.make(**settings)
    assert forks.work(calm) == 0
    job = forks.make(**settings)
    assert forks.work(job, ["out_of_memory", {"where": "optimizer", "step": step, "size": 0}]) == 0
    (repair,) = events(job, "repair")
    assert "DefaultCPUAllocator" in repair["reason"]
    assert [event["step"] for event in events(job, "resumed")] == ([5] if step == 8 else [])
    one, other = outcome(calm), outcome(job)
    assert other.order == one.order
    assert {step: loss for step, (loss, _) in other.steps.items()} == {
        step: pytest.approx(loss, abs=0.02) for step, (loss, _) in one.steps.items()
    }


def test_then_gradient_checkpointing_then_an_error(forks: Forks) -> None:
    job = forks.make(**{**REPAIRED, "micro_batch": 1}, model=model_named(forks, "no-way"))
    assert forks.work(job, ["out_of_memory", {"where": "forward", "step": 3, "size": 0}]) == 1
    (repair,) = events(job, "repair")
    assert (repair["what"], repair["gradient_checkpointing"], repair["micro_batch"]) == ("gradient_checkpointing", True, 1)
    (error,) = events(job, "error")
    assert error["title"] == "Out of memory"
    assert "train.max_length (now 2048)" in error["hint"]
    assert "CUDA out of memory" in error["message"]
    assert forks.work(job) == 0  # somebody has freed some
    assert outcome(job).steps.keys() == set(range(1, 15))


def test_out_of_memory_in_an_evaluation(forks: Forks) -> None:
    """Only the evaluation gets smaller batches; training stays bit for bit what it was."""
    settings = {**REPAIRED, "model": model_named(forks, "evaluations")}
    calm, job = forks.make(**settings), forks.make(**settings)
    assert forks.work(calm) == 0
    assert forks.work(job, ["out_of_memory", {"where": "evaluation", "step": 5, "size": 1}]) == 0
    assert [(event["what"], event["micro_batch"]) for event in events(job, "repair")] == [("evaluation_batch", 2), ("evaluation_batch", 1)]
    assert outcome(job).adapter == outcome(calm).adapter
    assert outcome(job).evaluations == {step: pytest.approx(loss, abs=0.02) for step, loss in outcome(calm).evaluations.items()}
    assert make_plan(load(job.directory / RECIPE_FILE)).repaired == ""


# ---- explosion


def test_a_loss_that_is_no_number_ends_the_run_at_its_last_good_checkpoint(forks: Forks) -> None:
    job = forks.make(every_steps=2)
    assert forks.work(job, ["no_number", 8]) == 1
    (error,) = events(job, "error")
    assert error["title"] == "The loss exploded"
    assert "became NaN at step 8" in error["message"]
    last = events(job, "checkpoint")[-1]
    assert (last["step"], last["reason"]) == (6, "last good")
    assert last["path"] in error["message"]
    assert f"luthier resume {job.id}" in error["hint"]
    assert forks.work(job) == 0
    assert events(job, "resumed")[-1]["step"] == 6


def test_an_exploding_loss_ends_the_run_before_its_onset(forks: Forks) -> None:
    """The checkpoints that were saved while it exploded are no longer there; with a lower rate the run goes on, if forced."""
    job = forks.make(every_steps=1, epochs=3)
    assert forks.work(job, ["explode", 16]) == 1
    (error,) = events(job, "error")
    assert "Since step" in error["message"]
    onset = int(error["message"].split("Since step ")[1].split()[0])
    assert 17 <= onset <= 20
    kept = [checkpoint.step for checkpoint in complete_checkpoints(job.directory)]
    assert kept[-1] == onset - 2
    assert events(job, "checkpoint")[-1]["step"] == kept[-1]
    recipe = job.directory / RECIPE_FILE
    recipe.write_text(recipe.read_text().replace("learning_rate = 0.01", "learning_rate = 0.001"))
    with pytest.raises(LuthierError, match=r"train\.learning_rate was 0\.01, now 0\.001"):
        launch.resume(job)
    (job.directory / "resume.json").write_text('{"forced": true}')
    assert forks.work(job) == 0
    resumed = events(job, "resumed")[-1]
    assert resumed["forced"]
    assert resumed["differences"] == ["recipe: train.learning_rate was 0.01, now 0.001"]
    after = [event for event in events(job, "step") if event["t"] > resumed["t"]]
    assert all(0 < event["learning_rate"] <= 0.001 for event in after)


# ---- what has changed meanwhile


def test_what_matters_has_changed(forks: Forks, tmp_path: Path) -> None:
    """Each change is named before anything starts; by force the run goes on with the samples that it has, and records it."""
    data = write_conversations(tmp_path / "own.jsonl", 64)
    model = tmp_path / "model"
    shutil.copytree(forks.model, model)
    job = forks.make(data=data, model=model)
    assert forks.work(job, ["stop_in", ["step", 5]]) == 0
    calm = forks.make(data=data, model=model)
    assert forks.work(calm) == 0

    os.utime(data)
    launch_refuses(job, None)  # touched is not changed
    data.write_text(data.read_text().replace("harbour", "lagoon"))
    launch_refuses(job, rf"data: {data} has changed")
    template = model / "chat_template.jinja"
    template.write_text(template.read_text() + " ")
    launch_refuses(job, "chat template: it has changed")
    fingerprint = json.loads((job.directory / "fingerprint.json").read_text())
    written = json.dumps({**fingerprint, "versions": {**fingerprint["versions"], "torch": "2.0.0"}})
    (job.directory / "fingerprint.json").write_text(written)
    launch_refuses(job, r"torch: was 2\.0\.0, now 2\.")
    assert forks.work(job) == 1  # the worker looks too: what changed while the run waited counts
    assert events(job, "error")[-1]["title"] == "It cannot go on exactly"
    assert f"luthier resume {job.id} --force" in events(job, "error")[-1]["hint"]

    (job.directory / "resume.json").write_text('{"forced": true}')
    assert forks.work(job) == 0
    (resumed,) = events(job, "resumed")
    assert resumed["forced"]
    assert len(resumed["differences"]) == 3
    assert outcome(job) == outcome(calm)


def test_some_changes_need_a_new_run(forks: Forks) -> None:
    job = forks.make()
    assert forks.work(job, ["stop_in", ["step", 3]]) == 0
    recipe = job.directory / RECIPE_FILE
    recipe.write_text(recipe.read_text().replace("r = 4", "r = 8"))
    with pytest.raises(LuthierError, match=r"lora\.r"):
        launch.resume(job, force=True)


def launch_refuses(job: Job, message: str | None) -> None:
    """What `trainer.launch.resume` says, if it says anything, without starting the run."""
    with pytest.MonkeyPatch.context() as patch:
        started: list[Job] = []
        patch.setattr(launch, "start", started.append)
        if message is None:
            launch.resume(job)
            assert started == [job]
        else:
            with pytest.raises(Changed, match=message):
                launch.resume(job)
            assert not started


def test_a_damaged_checkpoint_is_passed_over(forks: Forks, whole: Outcome) -> None:
    job = forks.make()
    assert forks.work(job, ["stop_in", ["step", 9]]) == 0
    older, newest = complete_checkpoints(job.directory)[-2:]
    weights = newest.path / "adapter_model.safetensors"
    damaged = bytearray(weights.read_bytes())
    damaged[-1] ^= 1
    weights.write_bytes(damaged)
    assert forks.work(job) == 0
    assert [event["step"] for event in events(job, "resumed")] == [older.step]
    assert outcome(job) == whole


def test_a_token_beyond_the_embedding_is_told_before_training(forks: Forks, tmp_path: Path) -> None:
    """The tokenizer has a token more than the model: the row that holds it is named, and nothing is trained."""
    model = tmp_path / "short"
    shutil.copytree(forks.model, model)
    tokenizer = json.loads((model / "tokenizer.json").read_text())
    number = len(tokenizer["model"]["vocab"])
    token = {"id": number, "content": "<treasure>", "special": False, "single_word": False, "lstrip": False, "rstrip": False}
    tokenizer["added_tokens"].append({**token, "normalized": False})
    (model / "tokenizer.json").write_text(json.dumps(tokenizer))
    data = tmp_path / "treasure.jsonl"
    data.write_text(forks.data.read_text().replace("Aye, 17 ", "Aye, <treasure> "))
    job = forks.make(model=model, data=data)
    assert forks.work(job) == 1
    (error,) = events(job, "error")
    assert str(number) in error["message"]
    assert not events(job, "step")
    print(error)


# ---- through the supervisor


def luthier(*arguments: str, status: int = 0) -> str:
    """The stdout of a command; its stderr where it fails."""
    answer = subprocess.run([sys.executable, "-P", "-m", "tui.cli", *arguments], capture_output=True, text=True, check=False)
    assert answer.returncode == status, answer.stderr
    return answer.stdout if status == 0 else answer.stderr


def wait_for_step(job: Job, step: int) -> None:
    deadline = time.monotonic() + 120
    while not isinstance(state := job.state(), Running) or state.step < step:
        assert isinstance(state, Queued | Starting | Running), state
        assert time.monotonic() < deadline
        time.sleep(0.05)


def worker_of(job: Job) -> int:
    return int(events(job, "started")[-1]["pid"])


def test_the_supervisor_is_killed_and_a_second_stop_is_immediate(forks: Forks) -> None:
    """Lost, with what its worker saved when it died; it goes on, and stops twice."""
    job = forks.make(epochs=2000, evaluations=0, every_steps=500)
    jobs.start(job)
    wait_for_step(job, 20)
    supervisor, worker = job.supervisor(), worker_of(job)
    assert supervisor is not None
    os.kill(supervisor, signal.SIGKILL)
    assert_gone([supervisor, worker])
    assert isinstance(job.state(), Lost)
    (checkpoint,) = complete_checkpoints(job.directory)
    assert checkpoint.step == events(job, "step")[-1]["step"]
    assert "Already running" not in luthier("resume", job.id)
    wait_for_step(job, checkpoint.step + 5)
    assert "Already running" in luthier("resume", job.id, status=1)
    began = time.monotonic()
    luthier("stop", job.id, "--now")
    assert time.monotonic() - began < 5.0
    assert not isinstance(job.state(), Running)
    steps = [event["step"] for event in events(job, "step")]
    assert steps == list(range(1, len(steps) + 1))


def test_the_builtin_model_is_stopped_killed_and_repaired(forks: Forks, builtin_model: Path) -> None:
    """On the command line; and the weights are those of the run that nothing befell."""
    data = ROOT / "examples" / "captain" / "train.jsonl"
    settings = {**PLAIN, "epochs": 0.2, "dropout": 0.0, "evaluations": 0, "every_steps": 1, "data": data, "model": "builtin"}
    calm = forks.make(**settings)
    assert forks.work(calm) == 0
    whole = [(event["loss"], event["tokens"]) for event in events(calm, "step")]
    assert len(whole) == 7

    job = forks.make(**settings)
    jobs.start(job)
    wait_for_step(job, 1)
    luthier("stop", job.id)
    assert "saving a checkpoint" in luthier("log", job.id)
    assert isinstance(job.state(), Stopped)
    assert events(job, "checkpoint")[-1]["reason"] == "stop"
    at = events(job, "checkpoint")[-1]["step"]
    assert json.loads(luthier("resume", job.id, "--json"))["step"] == at
    wait_for_step(job, at + 2)
    os.kill(worker_of(job), signal.SIGKILL)
    assert jobs.wait(job, 20)
    assert isinstance(state := job.state(), Failed)
    assert state.title == "Killed by SIGKILL"
    luthier("resume", job.id)
    assert jobs.wait(job, 300)
    assert isinstance(job.state(), Done), job.state()
    assert "Nothing is left to do" in luthier("resume", job.id, status=1)
    name = "adapter/adapter_model.safetensors"
    assert (job.directory / name).read_bytes() == (calm.directory / name).read_bytes()
    assert (job.directory / name).read_bytes() == (complete_checkpoints(job.directory)[-1].path / "adapter_model.safetensors").read_bytes()

    repaired = forks.make(**settings)
    assert forks.work(repaired, ["out_of_memory", {"where": "forward", "step": 2, "size": 1}]) == 0
    assert [event["micro_batch"] for event in events(repaired, "repair")] == [1]
    assert [event["tokens"] for event in events(repaired, "step")] == [tokens for _, tokens in whole]
    assert [event["loss"] for event in events(repaired, "step")] == [pytest.approx(loss, abs=0.03) for loss, _ in whole]
