"""The supervisor with real processes: what it starts, stops, sweeps and records."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import pytest

from jobs import job as jobs
from jobs.events import Follower
from jobs.luthier_error import LuthierError
from jobs.state import Done, Failed, Running, Stopped, Stopping
from tests.jobs.acting import ended, first, in_state, living, spec, wait_for

pytestmark = pytest.mark.heavy


def test_done_with_its_result() -> None:
    job = jobs.submit(spec("well"))
    state = ended(job)
    assert isinstance(state, Done)
    assert state.result["answer"] == 42
    assert [event["kind"] for event in job.events()] == [
        "queued",
        "started",
        "phase",
        "result",
        "exited",
    ]
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
    in_state(job, Running)
    assert jobs.stop(job)
    assert isinstance(ended(job), Stopped)
    kinds = [event["kind"] for event in job.events()]
    assert kinds.index("stop_requested") < kinds.index("checkpoint") < kinds.index("exited")
    assert not jobs.stop(job)


def test_a_stubborn_worker_is_killed_after_the_grace() -> None:
    job = jobs.submit(spec("stubborn", grace_seconds=0.4))
    in_state(job, Running)
    jobs.stop(job)
    assert isinstance(ended(job), Stopped)
    assert first(job, "exited")["code"] == -9


def test_a_second_stop_is_immediate() -> None:
    job = jobs.submit(spec("stubborn", grace_seconds=60.0))
    in_state(job, Running)
    jobs.stop(job)
    in_state(job, Stopping)
    jobs.stop(job)
    assert isinstance(ended(job), Stopped)
    assert [event["kind"] for event in job.events()].count("stop_requested") == 1


def test_a_stop_can_be_immediate_from_the_first() -> None:
    job = jobs.submit(spec("stubborn", grace_seconds=60.0))
    in_state(job, Running)
    jobs.stop(job, now=True)
    assert isinstance(ended(job), Stopped)
    assert first(job, "exited")["code"] == -9


def test_orphans_are_swept_even_from_a_session_of_their_own() -> None:
    job = jobs.submit(spec("orphans"))
    assert isinstance(ended(job), Done)
    assert first(job, "exited")["swept"] == 2
    assert jobs.left_behind(job) == []


def test_a_forked_child_with_every_file_open_is_swept_and_holds_no_lock() -> None:
    job = jobs.submit(spec("forked"))
    assert isinstance(ended(job), Done)
    assert not living(first(job, "child")["pid"])


def test_the_job_outlives_the_process_that_started_it(home: Path) -> None:
    script = (
        "from jobs.job import submit; from jobs.spec import Spec; import os, signal, sys;"
        + "print(submit(Spec('run', 'steps', 'fake_worker', {'conduct': 'steps'})).id, flush=True);"
        " os.killpg(0, signal.SIGKILL)"
    )
    starter = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        start_new_session=True,
        check=False,
    )
    assert starter.returncode == -9
    job = jobs.find(starter.stdout.strip())
    wait_for(lambda: isinstance(state := job.state(), Running) and state.step > 3)


def test_a_second_supervisor_is_refused() -> None:
    job = jobs.submit(spec("steps"))
    with pytest.raises(LuthierError, match="has a supervisor"):
        jobs.start(job)
    command = [sys.executable, "-P", "-m", "jobs.shim", str(job.directory)]
    second = subprocess.run(command, capture_output=True, text=True, check=False)
    assert second.returncode == 1
    assert "Already running" in second.stderr
    assert sum(event["kind"] == "queued" for event in Follower(job.events_path).read()) == 1


def test_what_follows_starts_when_the_job_is_done_and_not_otherwise() -> None:
    following = {
        "kind": "certify",
        "name": "next",
        "module": "fake_worker",
        "settings": {"conduct": "well", "run": "{job}"},
    }
    done, failed = (
        jobs.submit(spec("well", then=[following])),
        jobs.submit(spec("told error", then=[following])),
    )
    ended(failed)
    ended(done)
    (follower,) = wait_for(lambda: jobs.all_jobs("certify"))
    assert isinstance(ended(follower), Done)
    assert follower.spec.settings["run"] == str(done.directory)


def test_the_users_own_modules_are_never_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("jobs.py", "fake_worker.py", "trainer.py", "json.py"):
        (tmp_path / name).write_text("raise SystemExit('the decoy ran')")
    monkeypatch.chdir(tmp_path)
    state = ended(jobs.submit(spec("well")))
    assert isinstance(state, Done)
    assert state.result["cwd"].startswith(str(tmp_path / "home"))


def test_find_and_remove() -> None:
    job = jobs.submit(spec("well"))
    ended(job)
    assert (
        jobs.find("well").id
        == jobs.find(job.id).id
        == jobs.find(job.id[-4:]).id
        == jobs.find(job.short_id).id
    )
    for wrong in ("../..", "nix", ""):
        with pytest.raises(LuthierError):
            jobs.find(wrong)
    running = jobs.submit(spec("steps"))
    in_state(running, Running)
    with pytest.raises(LuthierError, match="is running"):
        jobs.remove(running)
    assert running.directory.is_dir()
    jobs.remove(job)
    assert [found.id for found in jobs.all_jobs()] == [running.id]
    with pytest.raises(LuthierError, match="No such job"):
        jobs.start(job)


def test_damaged_folders_are_left_out_of_the_list(home: Path) -> None:
    job = jobs.submit(spec("well"))
    ended(job)
    broken = home / "jobs" / "20261122-1530-broken-7f3a"
    broken.mkdir()
    (broken / "spec.json").write_text(json.dumps({"kind": "run"})[:-3])
    (home / "jobs" / "notes").mkdir()
    assert [found.id for found in jobs.all_jobs()] == [job.id]


def test_a_run_is_meant_before_another_job_of_its_name() -> None:
    run = jobs.create(spec("well"))
    server = jobs.create(dataclasses.replace(spec("well"), kind="server"))
    assert jobs.find("well") == run and jobs.find("well", "server") == server
    assert jobs.find(server.id) == server
