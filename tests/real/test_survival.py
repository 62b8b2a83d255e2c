"""Runs that are stopped, killed, resumed: the real worker, over and over, on a tiny model and on
the built-in one."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from jobs import job as jobs
from jobs.job import Job
from jobs.luthier_error import LuthierError
from jobs.state import Done, Failed, Lost, Queued, Running, Starting, Stopped
from models.adapters import check_servable, read_adapter
from models.run_folder import RECIPE_FILE, RunFolder
from tests.real.conftest import assert_gone
from tests.real.forks import KILLED, PLAIN, ROOT, Forks, Outcome, events, outcome
from tests.real.tiny import write_conversations
from trainer import launch
from trainer.resume import Changed
from trainer.run.checkpoints import complete_checkpoints

pytestmark = pytest.mark.real


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
    epochs = [
        sorted(sample for step in range(first, first + 14) for sample in whole.order[step])
        for first in (1, 15)
    ]
    assert epochs[0] == epochs[1]
    assert len(set(epochs[0])) == 56


def test_stops_anywhere_change_nothing(forks: Forks, whole: Outcome) -> None:
    """In the first step, in the midst of an epoch, at its end, in an evaluation, in the last step
    but one."""
    job = forks.make()
    stops = [
        ["step", 1],
        ["step", 5],
        ["evaluation", 12],
        ["step", 14],
        ["step", 23],
        ["evaluation", 24],
        ["step", 34],
    ]
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
    """kill -9 at random moments, and in each place of a save, over as many runs as that takes; each
    ends as if nothing had been."""
    chance = random.Random(4)
    kills: list[list[Any] | float] = [
        ["kill_in_save", [place, number]] for place, number in IN_SAVES[:-1]
    ]
    kills += [round(chance.uniform(0.02, 1.6), 3) for _ in range(17)]
    chance.shuffle(kills)
    in_saves, at_random, runs = 0, 0, 0
    while kills:
        job = forks.make(every_steps=chance.choice([1, 2, 3]))
        runs += 1
        while kills:
            kill = kills.pop()
            before = [checkpoint.step for checkpoint in complete_checkpoints(job.directory)]
            code = (
                forks.work(job, kill)
                if isinstance(kill, list)
                else forks.work(job, kill_after=kill)
            )
            if code == 0:  # it was quicker: this one is for the next run
                kills.append(kill)
                break
            assert code == KILLED, (code, kill, (job.directory / "output.log").read_text()[-3000:])
            in_saves, at_random = (
                in_saves + isinstance(kill, list),
                at_random + isinstance(kill, float),
            )
            _loses_nothing_complete(job, before)
        else:
            assert forks.work(job, ["kill_in_save", list(IN_SAVES[-1])]) == KILLED
            in_saves += 1
            assert forks.work(job) == 0
        assert outcome(job) == whole
        assert not (RunFolder(job.directory).checkpoints / ".saving").exists() or not list(
            (RunFolder(job.directory).checkpoints / ".saving").iterdir()
        )
    print(f"{in_saves} kills in saves, {at_random} at random moments, {runs} runs")
    assert (in_saves, at_random) == (9, 17)


def _loses_nothing_complete(job: Job, before: list[int]) -> None:
    """After a kill the newest complete checkpoint is whole and no older than the one before, and
    than the last that was told of."""
    checkpoints = complete_checkpoints(job.directory)
    told = [event["step"] for event in events(job, "checkpoint")]
    newest = checkpoints[-1].step if checkpoints else 0
    assert newest >= max([0, *before, *told[-1:]])
    if checkpoints:
        assert checkpoints[-1].intact()


# ---- what has changed meanwhile


def test_what_matters_has_changed(forks: Forks, tmp_path: Path) -> None:
    """Each change is named before anything starts; by force the run goes on with the samples that
    it has, and records it."""
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
    launch_refuses(job, "chat template: changed")
    fingerprint = json.loads((job.directory / "fingerprint.json").read_text())
    written = json.dumps({**fingerprint, "versions": {**fingerprint["versions"], "torch": "2.0.0"}})
    (job.directory / "fingerprint.json").write_text(written)
    launch_refuses(job, r"torch: was 2\.0\.0, now 2\.")
    assert forks.work(job) == 1  # the worker looks too: what changed while the run waited counts
    assert events(job, "error")[-1]["title"] == "The run cannot be resumed exactly"
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


def test_a_disk_that_fills_up_in_a_save_is_told_and_leaves_nothing_half(
    forks: Forks, whole: Outcome
) -> None:
    job = forks.make()
    assert forks.work(job, ["no_room_for_the_optimizer", 8]) == 1
    assert events(job, "error")[-1]["title"] == "The disk is full"
    assert not (RunFolder(job.directory).checkpoints / ".saving").exists()
    assert [checkpoint.step for checkpoint in complete_checkpoints(job.directory)] == [4, 6]
    assert forks.work(job) == 0
    assert outcome(job) == whole


def test_a_token_beyond_the_embedding_is_told_before_training(forks: Forks, tmp_path: Path) -> None:
    """The tokenizer has a token more than the model: the row that holds it is named, and nothing is
    trained."""
    model = tmp_path / "short"
    shutil.copytree(forks.model, model)
    tokenizer = json.loads((model / "tokenizer.json").read_text())
    number = len(tokenizer["model"]["vocab"])
    token = {
        "id": number,
        "content": "<treasure>",
        "special": False,
        "single_word": False,
        "lstrip": False,
        "rstrip": False,
    }
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
    answer = subprocess.run(
        [sys.executable, "-P", "-m", "tui.cli", *arguments],
        capture_output=True,
        text=True,
        check=False,
    )
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


def test_the_builtin_model_is_stopped_killed_and_repaired(
    forks: Forks, builtin_model: Path
) -> None:
    """On the command line; and the weights are those of the run that nothing befell."""
    data = ROOT / "examples" / "captain" / "train.jsonl"
    steps = {"epochs": 0.07, "global_batch": 2}  # five, and small
    settings = {
        **PLAIN,
        **steps,
        "dropout": 0.0,
        "evaluations": 0,
        "every_steps": 1,
        "data": data,
        "model": "builtin",
    }
    calm = forks.make(**settings)
    assert forks.work(calm) == 0
    whole = [(event["loss"], event["tokens"]) for event in events(calm, "step")]
    assert len(whole) == 5

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
    assert "Nothing left to do" in luthier("resume", job.id, status=1)
    name = "adapter/adapter_model.safetensors"
    assert (job.directory / name).read_bytes() == (calm.directory / name).read_bytes()
    assert (job.directory / name).read_bytes() == (
        complete_checkpoints(job.directory)[-1].path / "adapter_model.safetensors"
    ).read_bytes()

    repaired = forks.make(**settings)
    assert forks.work(repaired, ["out_of_memory", {"where": "forward", "step": 2, "size": 1}]) == 0
    assert [event["micro_batch"] for event in events(repaired, "repair")] == [1]
    assert [event["tokens"] for event in events(repaired, "step")] == [
        tokens for _, tokens in whole
    ]
    assert [event["loss"] for event in events(repaired, "step")] == [
        pytest.approx(loss, abs=0.03) for loss, _ in whole
    ]
