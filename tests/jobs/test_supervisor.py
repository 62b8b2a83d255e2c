"""The supervisor with real processes: what it starts, stops, sweeps and records."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from jobs import job as jobs
from jobs import processes
from jobs.errors import LuthierError
from jobs.events import Event, Follower
from jobs.job import Job
from jobs.spec import Spec
from jobs.state import Done, Failed, Lost, Queued, Running, State, Stopped, word

FAKES = Path(__file__).parents[1] / "fakes"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("LUTHIER_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("PYTHONPATH", str(FAKES))
    yield tmp_path / "home"
    for job in jobs.all_jobs():
        while job.supervisor() is not None:
            jobs.stop(job)
            time.sleep(0.05)


def spec(conduct: str, **fields: Any) -> Spec:
    return Spec(kind="run", name=conduct, module="fake_worker", settings={"conduct": conduct}, **fields)


def ended(job: Job) -> State:
    assert jobs.wait(job, 20)
    return job.state()


def wait_for(condition: Callable[[], Any], seconds: float = 15.0) -> Any:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        value = condition()
        if value:
            return value
        time.sleep(0.02)
    raise AssertionError("it did not happen")


def first(job: Job, kind: str) -> Event:
    return next(event for event in Follower(job.events_path).read() if event["kind"] == kind)


def test_done_with_its_result() -> None:
    job = jobs.submit(spec("well"))
    state = ended(job)
    assert isinstance(state, Done)
    assert state.result["answer"] == 42
    assert [event["kind"] for event in job.events()] == ["queued", "started", "phase", "result", "exited"]
    assert not (job.directory / ".reserve").exists()


@pytest.mark.parametrize(
    ("conduct", "title"),
    [
        ("told error", "Told"),
        ("unexpected error", "Unexpected RuntimeError"),
        ("exit status", "Exit status 3"),
        ("killed", "Killed by SIGKILL"),
        ("no result", "Ended without a result"),
        ("disk full", "The disk is full"),
    ],
)
def test_failed_with_the_reason(conduct: str, title: str) -> None:
    state = ended(jobs.submit(spec(conduct)))
    assert isinstance(state, Failed)
    assert state.title == title
    assert conduct != "exit status" or "last words" in state.message


def test_an_interpreter_that_does_not_exist() -> None:
    state = ended(jobs.submit(spec("well", python="/no/such/python")))
    assert isinstance(state, Failed)
    assert "/no/such/python" in state.hint


def test_stopped_with_care_after_it_has_saved() -> None:
    job = jobs.submit(spec("steps"))
    wait_for(lambda: isinstance(job.state(), Running))
    assert jobs.stop(job)
    assert isinstance(ended(job), Stopped)
    kinds = [event["kind"] for event in job.events()]
    assert kinds.index("stop_requested") < kinds.index("checkpoint") < kinds.index("exited")
    assert not jobs.stop(job)


def test_a_stubborn_worker_is_killed_after_the_grace() -> None:
    job = jobs.submit(spec("stubborn", grace_seconds=0.4))
    wait_for(lambda: isinstance(job.state(), Running))
    jobs.stop(job)
    assert isinstance(ended(job), Stopped)
    assert first(job, "exited")["code"] == -9


def test_a_second_stop_is_immediate() -> None:
    job = jobs.submit(spec("stubborn", grace_seconds=60.0))
    wait_for(lambda: isinstance(job.state(), Running))
    jobs.stop(job)
    wait_for(lambda: word(job.state()) == "stopping")
    jobs.stop(job)
    assert isinstance(ended(job), Stopped)


def test_orphans_are_swept_even_from_a_session_of_their_own() -> None:
    job = jobs.submit(spec("orphans"))
    assert isinstance(ended(job), Done)
    assert first(job, "exited")["swept"] == 2
    assert not [pid for pid in processes.parents() if processes.is_running(pid, "time.sleep(300)")]


def test_the_job_outlives_the_process_that_started_it(home: Path) -> None:
    script = "from jobs.job import submit; from jobs.spec import Spec; import os, signal, sys;" + (
        "print(submit(Spec('run', 'steps', 'fake_worker', {'conduct': 'steps'})).id, flush=True); os.killpg(0, signal.SIGKILL)"
    )
    starter = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, start_new_session=True, check=False)
    assert starter.returncode == -9
    job = jobs.find(starter.stdout.strip())
    wait_for(lambda: isinstance(state := job.state(), Running) and state.step > 3)


def test_a_killed_supervisor_leaves_the_job_lost_and_its_worker_saves_and_ends() -> None:
    job = jobs.submit(spec("steps"))
    wait_for(lambda: isinstance(job.state(), Running))
    worker = first(job, "started")["pid"]
    os.kill(first(job, "started")["shim"], signal.SIGKILL)
    wait_for(lambda: isinstance(job.state(), Lost))
    wait_for(lambda: not processes.is_running(worker, job.id))
    assert first(job, "checkpoint")
    jobs.start(job)
    wait_for(lambda: isinstance(job.state(), Running))
    assert [event["attempt"] for event in Follower(job.events_path).read() if event["kind"] == "queued"] == [1, 2]


def test_a_job_is_not_started_again_beside_its_living_worker() -> None:
    job = jobs.submit(spec("stubborn"))
    wait_for(lambda: isinstance(job.state(), Running))
    worker = first(job, "started")["pid"]
    os.kill(first(job, "started")["shim"], signal.SIGKILL)
    wait_for(lambda: job.supervisor() is None)
    with pytest.raises(LuthierError, match=str(worker)):
        jobs.start(job)
    os.kill(worker, signal.SIGKILL)


def test_a_second_supervisor_is_refused() -> None:
    job = jobs.submit(spec("steps"))
    with pytest.raises(LuthierError, match="has a supervisor"):
        jobs.start(job)
    command = [sys.executable, "-P", "-m", "jobs.shim", str(job.directory)]
    second = subprocess.run(command, capture_output=True, text=True, check=False)
    assert second.returncode == 1
    assert "Already running" in second.stderr
    assert sum(event["kind"] == "queued" for event in Follower(job.events_path).read()) == 1


def test_a_zombie_is_no_living_worker() -> None:
    child = subprocess.Popen([sys.executable, "-c", "pass  # zombie"])
    wait_for(lambda: child.pid not in processes.parents())
    assert not processes.is_running(child.pid, "zombie")
    child.wait()


def test_one_slot_is_one_job_at_a_time_in_the_order_of_the_queue() -> None:
    running = jobs.submit(spec("steps", slots=["cpu"]))
    wait_for(lambda: isinstance(running.state(), Running))
    late, early = jobs.submit(spec("steps", slots=["cpu"])), jobs.submit(spec("well", slots=["cpu"]))
    jobs.set_order(early, late.order - 1)
    state = wait_for(lambda: isinstance(state := late.state(), Queued) and state.waits_for and state)
    assert running.id in state.waits_for or early.id in state.waits_for
    jobs.stop(running)
    assert isinstance(ended(early), Done)
    wait_for(lambda: isinstance(late.state(), Running))


def test_a_waiting_job_can_be_stopped() -> None:
    jobs.submit(spec("steps", slots=["cpu"]))
    waiting = jobs.submit(spec("well", slots=["cpu"]))
    jobs.stop(waiting)
    assert isinstance(ended(waiting), Stopped)


def test_a_gpu_without_enough_memory_counts_as_taken_and_a_free_one_is_visible(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    smi = tmp_path / "nvidia-smi"
    answers = "case \"$1\" in *compute*) echo '812, /usr/bin/python, 70000';; *) printf '0, H, 80000, 1000\\n1, H, 80000, 79000\\n';; esac"
    smi.write_text(f"#!/bin/sh\n{answers}\n")
    smi.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    state = ended(jobs.submit(spec("well", slots=["gpu"], gpu_bytes=20 << 30)))
    assert isinstance(state, Done)
    assert state.result["gpus"] == "1"
    waiting = jobs.submit(spec("well", slots=["gpu-0"], gpu_bytes=20 << 30))
    queued = wait_for(lambda: isinstance(state := waiting.state(), Queued) and state.waits_for and state)
    assert "python (pid 812, 68.4 GB)" in queued.waits_for


def test_what_follows_starts_when_the_job_is_done_and_not_otherwise() -> None:
    following = {"kind": "certify", "name": "next", "module": "fake_worker", "settings": {"conduct": "well", "run": "{job}"}}
    done, failed = jobs.submit(spec("well", then=[following])), jobs.submit(spec("told error", then=[following]))
    ended(failed)
    ended(done)
    (follower,) = wait_for(lambda: jobs.all_jobs("certify"))
    assert isinstance(ended(follower), Done)
    assert follower.spec.settings["run"] == str(done.directory)


def test_the_users_own_modules_are_never_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("jobs.py", "fake_worker.py", "trainer.py", "json.py"):
        (tmp_path / name).write_text("raise SystemExit('the decoy ran')")
    monkeypatch.chdir(tmp_path)
    state = ended(jobs.submit(spec("well")))
    assert isinstance(state, Done)
    assert state.result["cwd"].startswith(str(tmp_path / "home"))


def test_find_and_remove() -> None:
    job = jobs.submit(spec("well"))
    ended(job)
    assert jobs.find("well").id == jobs.find(job.id).id == jobs.find(job.id[-4:]).id
    for wrong in ("../..", "nix", ""):
        with pytest.raises(LuthierError):
            jobs.find(wrong)
    running = jobs.submit(spec("steps"))
    with pytest.raises(LuthierError, match="runs"):
        jobs.remove(running)
    jobs.remove(job)
    assert [found.id for found in jobs.all_jobs()] == [running.id]


def test_damaged_folders_are_left_out_of_the_list(home: Path) -> None:
    job = jobs.submit(spec("well"))
    ended(job)
    broken = home / "jobs" / "20261122-1530-broken-7f3a"
    broken.mkdir()
    (broken / "spec.json").write_text(json.dumps({"kind": "run"})[:-3])
    (home / "jobs" / "notes").mkdir()
    assert [found.id for found in jobs.all_jobs()] == [job.id]
