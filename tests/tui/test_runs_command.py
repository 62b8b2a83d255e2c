"""`luthier runs`, `log`, `stop`, `remove`, `move`, `edit` and `requeue`, over jobs made by hand
and, where they act, real ones."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result

from jobs import job as jobs
from jobs import queue
from jobs.job import Job
from jobs.luthier_error import LuthierError
from jobs.spec import Spec
from jobs.state import Lost, Queued, Running, Stopped, Stopping
from tests.jobs.acting import end_everything, in_state, kill_supervisor
from tests.tui import folders
from tests.tui.lock_holder import held
from trainer.launch import frozen_recipe
from tui.commands import queue as queue_commands
from tui.commands import runs as commands
from tui.commands.events import event_line

PLAN = {
    **{
        "kind": "plan",
        "engine": "trl",
        "device": "cpu",
        "gpus": 1,
        "conversations": 100,
        "heldout": 16,
        "epochs": 3.0,
        "steps": 18,
    },
    **{
        "global_batch": 16,
        "micro_batch": 8,
        "learning_rate": 5e-4,
        "memory": {"weights": 1_200_000_000},
    },
    **{"reasons": ["long " * 200], "policies": [{"name": "damage"}] * 17},
}


def run(command: click.Command, *arguments: str, answer: str = "") -> Result:
    return CliRunner().invoke(command, arguments, input=answer, catch_exceptions=True)


def listed(*arguments: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(run(commands.runs, "--json", *arguments).stdout)
    return found


def refusal(result: Result) -> str:
    assert isinstance(result.exception, LuthierError)
    return str(result.exception)


@pytest.fixture
def real(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Real supervisors and the fake worker."""
    checkout = Path(__file__).parents[2]
    monkeypatch.setenv("PYTHONPATH", f"{checkout}:{checkout / 'tests' / 'fakes'}")
    yield
    for job in jobs.all_jobs():
        end_everything(job)


def submit(name: str, conduct: str = "steps") -> Job:
    return jobs.submit(Spec("run", name, "fake_worker", {"conduct": conduct}, slots=["cpu"]))


def test_a_line_a_run_with_what_it_does(jobs_by_name: dict[str, Job]) -> None:
    lines = run(commands.runs).stdout.splitlines()
    assert [line.split()[0].split("-", 2)[2].removesuffix("-00ff") for line in lines[1:]] == (
        [
            "halting",
            "parrot",
            "pirate",
            "queued-up",
            "rebooted",
            "too-large",
            "captain",
            "first-try",
        ]
    )
    about = {line.split()[0].split("-", 2)[2].removesuffix("-00ff"): line for line in lines[1:]}
    assert (
        "● running" in about["pirate"]
        and "340 of 800 steps" in about["pirate"]
        and "0.910" in about["pirate"]
    )
    assert "13 m" in about["pirate"] and "10 m" in about["pirate"]
    assert "next, waits for pirate-00ff on gpu-0" in about["queued-up"]
    assert "its supervisor has gone, at step 40 of 200" in about["rebooted"]
    assert "Out of memory: The model needs" in about["too-large"]
    assert "captain-server" in run(commands.runs, "--all").stdout


def test_json_has_what_applies(jobs_by_name: dict[str, Job]) -> None:
    runs = {one["name"]: one for one in listed()}
    assert runs["queued-up"] == {
        "id": jobs_by_name["queued-up"].id,
        "kind": "run",
        "name": "queued-up",
        "model": "builtin",
        "state": "queued",
        "since": folders.NOW - 20,
        "waits_for": "pirate-00ff on gpu-0",
        "position": 1,
        "created": folders.NOW - 20,
        "directory": str(jobs_by_name["queued-up"].directory),
    }
    assert (
        runs["pirate"]["step"] == 340
        and runs["pirate"]["total"] == 800
        and 0.9 < runs["pirate"]["loss"] < 0.92
    )
    assert abs(runs["pirate"]["seconds_left"] - 460 * 1.7) < 1
    assert runs["captain"]["result"]["eval_loss"] == 1.031
    assert [one["name"] for one in listed("--queue")] == ["queued-up"]


def test_an_empty_queue_and_an_empty_home_say_what_to_do(home: Path) -> None:
    assert "No job is waiting." in run(commands.runs, "--queue").stderr
    assert "luthier demo" in run(commands.runs).stderr
    assert listed() == []


def test_what_was_waiting_is_offered_again(home: Path) -> None:
    folders.wait_in_queue(folders.make_job("ann", 1, age=100), 1, ago=50)
    result = run(commands.runs)
    assert "was waiting when the machine went down" in result.stdout
    assert "`luthier requeue` queues it again" in " ".join(result.stderr.split())


def test_the_log_is_a_line_an_event(jobs_by_name: dict[str, Job]) -> None:
    lines = run(commands.log, "captain").stdout.splitlines()
    assert "started" in lines[1] and "step             1/300  loss" in lines[2].replace(
        "step            1", "step             1"
    )
    assert any("eval" in line and "at step 50  loss" in line for line in lines)
    assert lines[-1].endswith("status 0")
    assert run(commands.log, "captain", "-n", "2").stdout.splitlines() == lines[-2:]
    assert run(commands.log, "captain", "-n", "0").stdout == ""
    as_events = run(commands.log, "captain", "--events").stdout
    assert as_events == run(commands.log, "captain", "--json").stdout
    assert json.loads(as_events.splitlines()[-1])["kind"] == "exited"


def test_what_the_worker_printed(jobs_by_name: dict[str, Job]) -> None:
    assert (
        run(commands.log, "pirate", "--output", "-n", "2").stdout
        == "step 339 of 800\nstep 340 of 800\n"
    )
    assert len(run(commands.log, "pirate", "--output").stdout.splitlines()) == 340


@pytest.mark.parametrize(
    ("event", "text"),
    [
        (
            {"kind": "waiting", "waits_for": "captain-7f3a on the CPU"},
            "for captain-7f3a on the CPU",
        ),
        (
            {"kind": "checkpoint", "step": 40, "reason": "stop", "best": True},
            "at step 40 (stop, the best so far)",
        ),
        (
            {"kind": "eval", "step": 4, "loss": 1.25, "metrics": {"chrf": 31.5}},
            "at step 4  loss 1.25  chrf 31.5",
        ),
        (
            {"kind": "sample", "step": 4, "prompt": "Hi\nthere", "answer": "A" * 90},
            f"at step 4  Hi there -> {'A' * 59}…",
        ),
        (
            {"kind": "resumed", "step": 4, "differences": ["torch: 1, now 2"]},
            "from step 4; changed since: torch: 1, now 2",
        ),
        ({"kind": "error", "title": "Told", "message": "a\nb", "hint": "c"}, "Told: a b c"),
        (
            {"kind": "exited", "code": -9, "stopped": True, "swept": 2},
            "status -9, stopped, 2 processes swept",
        ),
        ({"kind": "new", "some": 0.123456, "other": "x"}, "some=0.1235 other=x"),
        (
            {"kind": "new", "many": list(range(100)), "text": "x" * 90},
            f"many=(100 entries) text={'x' * 59}…",
        ),
        (
            {
                "kind": "template",
                "checks": [{"name": "tools", "status": "warn"}, {"name": "stop", "status": "ok"}],
            },
            "1 of 2 checks passed; look at tools",
        ),
        (
            {
                "kind": "data",
                "train": 84,
                "heldout": 16,
                "tokens": 4200,
                "longest": 90,
                "ledger": {"rows": {"kept": 99, "dropped": 1}},
            },
            "84 samples to train, 16 held out, 4,200 tokens, longest 90, rows 1 dropped",
        ),
        (
            PLAN,
            "trl on CPU: 100 conversations (16 held out), 3 epochs, 18 steps, 16 per step, 8 at"
            " a time, learning rate 5e-4, 1.2 GB predicted",
        ),
        (
            {"kind": "result", "adapter": "/a", "steps": 9, "loss": 2.614, "seconds": 336.5},
            "loss 2.614 after 9 steps in 5 m 36 s",
        ),
        ({"kind": "result", "steps": "many", "seconds": 1.0}, "steps=many seconds=1"),
        (
            {**PLAN, "learning_rate": 0.0, "memory": {}, "gpus": 2, "device": "gpu"},
            "trl on 2 GPUs: 100 conversations (16 held out), 3 epochs, 18 steps, 16 per step, 8"
            " at a time",
        ),
    ],
)
def test_events_in_words(event: dict[str, Any], text: str) -> None:
    assert event_line({"t": 0.0, **event})[10:].split(maxsplit=1) == [event["kind"], text]


@pytest.mark.heavy
def test_moves_are_told(real: None) -> None:
    first = submit("first")
    in_state(first, Running)
    for name in ("ann", "bob"):
        submit(name)
    assert "is next in the queue" in run(queue_commands.move, "bob", "first").stderr
    assert "is 2nd in the queue" in run(queue_commands.move, "bob", "down").stderr
    assert [one["name"] for one in listed("--queue")] == ["ann", "bob"]
    run(queue_commands.move, "bob", "before", "ann")
    assert [one["position"] for one in listed("--queue") if one["name"] == "bob"] == [1]
    assert "is not waiting" in refusal(run(queue_commands.move, "first", "last"))
    for wrong in (("bob", "before"), ("bob", "first", "ann"), ("bob", "middle")):
        assert run(queue_commands.move, *wrong).exit_code == 2


@pytest.mark.heavy
def test_stop_is_careful_then_at_once_and_takes_several(real: None) -> None:
    first = submit("first", "slow to stop")
    in_state(first, Running)
    second = submit("second")
    jobs.stop(first)
    in_state(first, Stopping)
    result = run(commands.stop, "second", "first")  # the first one a second time: at once
    assert result.exit_code == 0 and "has left the queue" in result.stderr
    assert isinstance(first.state(), Stopped) and isinstance(second.state(), Stopped)
    assert "is not running: it is stopped" in run(commands.stop, "first").stderr


@pytest.mark.heavy
def test_stop_ends_what_a_killed_supervisor_left(real: None) -> None:
    job = submit("job", "stubborn")
    in_state(job, Running)
    kill_supervisor(job)
    assert jobs.left_behind(job)
    assert "told them to end" in run(commands.stop, "--now", "job").stderr


@pytest.mark.heavy
def test_remove_asks_once_and_takes_what_waits(real: None) -> None:
    first = submit("first")
    in_state(first, Running)
    waiting = [submit(name) for name in ("ann", "bob")]
    assert run(commands.remove, "ann", "bob", answer="n\n").exit_code == 1
    assert all(job.directory.is_dir() for job in waiting)
    result = run(commands.remove, "ann", "bob", answer="y\n")
    assert result.exit_code == 0 and result.stderr.count(" kB") + result.stderr.count(" B") >= 2
    assert [job.id for job in jobs.all_jobs()] == [first.id]
    assert "Still running" in refusal(run(commands.remove, "--yes", "first"))


@pytest.mark.heavy
def test_requeue_queues_what_waited_and_nothing_else(real: None) -> None:
    first = submit("first")
    in_state(first, Running)
    ann, bob = submit("ann", "starting"), submit("bob")
    for job in (bob, ann, first):
        kill_supervisor(job)
    end_everything(first)
    assert "had already started" in refusal(run(queue_commands.requeue, "first"))
    assert run(queue_commands.requeue, "bob").stdout.split() == [bob.id]
    assert run(queue_commands.requeue).stdout.split() == [ann.id]
    assert isinstance(ann.state(), Queued) and isinstance(first.state(), Lost)
    assert "No job was waiting" in run(queue_commands.requeue).stderr


@pytest.fixture
def waiting(home: Path) -> Iterator[Job]:
    """A run in the queue, with a recipe that can be planned."""
    folders.base_model(home / "models" / "builtin")
    turns = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Ahoy"}]
    (home / "data.jsonl").write_text(json.dumps({"messages": turns}) + "\n")
    job = folders.make_job("ann", 1, age=100)
    (job.directory / "recipe.toml").write_text(
        f"name = 'ann'\ndata = ['{home}/data.jsonl']\n[train]\nepochs = 2\n"
    )
    folders.wait_in_queue(job, 1, ago=50)
    with held(job):
        yield job


def editor(monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    monkeypatch.delenv("VISUAL", raising=False)
    monkeypatch.setenv("EDITOR", f"sed -i {script}")


def test_edit_opens_the_editor_and_replaces_the_recipe(
    waiting: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    editor(monkeypatch, "s/epochs/epocs/")
    assert "Did you mean train.epochs?" in refusal(run(queue_commands.edit, "ann"))
    editor(monkeypatch, "s/nothing/at-all/")
    assert "Nothing was changed" in run(queue_commands.edit, "ann").stderr
    assert frozen_recipe(waiting).train.epochs == 2
    editor(monkeypatch, "s/epochs.*/epochs=7/")
    assert run(queue_commands.edit, "ann").exit_code == 0
    assert frozen_recipe(waiting).train.epochs == 7 and queue.position(waiting) == 1


def test_edit_takes_a_recipe_from_elsewhere(waiting: Job, home: Path) -> None:
    (home / "mine.toml").write_text("data = ['data.jsonl']\n[train]\nepochs = 9\n")
    assert run(queue_commands.edit, "ann", "--from", str(home / "mine.toml")).exit_code == 0
    assert frozen_recipe(waiting).train.epochs == 9 and frozen_recipe(waiting).data == [
        str(home / "data.jsonl")
    ]


def test_edit_is_refused_before_the_editor_opens(
    jobs_by_name: dict[str, Job], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDITOR", "false")
    assert "is not waiting" in refusal(run(queue_commands.edit, "pirate"))
