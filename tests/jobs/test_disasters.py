"""The rows of the state table after a disaster: what is killed, closed, filled or turned back, and
what is seen and possible then."""

from __future__ import annotations

import fcntl
import os
import pty
import signal
import subprocess
import sys
import termios
import threading
from pathlib import Path

import pytest

from jobs import job as jobs
from jobs import processes, queue
from jobs.events import EventLog, Follower
from jobs.job import Job
from jobs.luthier_error import LuthierError
from jobs.state import Done, Failed, Lost, Queued, Running, Starting, Stopped, Stopping
from tests.jobs.acting import (
    end_everything,
    ended,
    events,
    first,
    in_state,
    kill_supervisor,
    living,
    spec,
    wait_for,
)

pytestmark = pytest.mark.heavy

CONDUCTS: dict[type, str] = {Starting: "starting", Running: "steps", Stopping: "slow to stop"}


def brought_to(kind: type) -> Job:
    """A job in this state."""
    if kind is Queued:
        in_state(jobs.submit(spec("steps", slots=["cpu"])), Running)
        waiting = jobs.submit(spec("steps", slots=["cpu"]))
        in_state(waiting, Queued)
        return waiting
    job = jobs.submit(spec(CONDUCTS[kind]))
    if kind is Stopping:
        in_state(job, Running)
        jobs.stop(job)
    in_state(job, kind)
    # its worker has its signals set
    wait_for(lambda: any(event["kind"] == "phase" for event in events(job)))
    return job


@pytest.mark.parametrize("kind", [Queued, Starting, Running, Stopping])
def test_a_killed_supervisor_leaves_the_job_lost_and_it_can_be_started_again(kind: type) -> None:
    job = brought_to(kind)
    kill_supervisor(job)
    state = job.state()
    assert isinstance(state, Lost) and state.waited == (kind is Queued)
    jobs.stop(job, now=True)  # ends the worker, where there is one
    wait_for(lambda: not jobs.left_behind(job))
    jobs.start(job)
    in_state(job, Running if kind is Stopping else kind)
    assert [event["attempt"] for event in events(job) if event["kind"] == "queued"] == [1, 2]


def test_a_worker_whose_supervisor_is_killed_saves_and_ends() -> None:
    job = brought_to(Running)
    worker = first(job, "started")["pid"]
    kill_supervisor(job)
    wait_for(lambda: not living(worker))
    assert first(job, "checkpoint")


def test_a_job_is_not_started_again_beside_its_living_worker_which_a_stop_ends() -> None:
    job = jobs.submit(spec("stubborn"))
    in_state(job, Running)
    worker = first(job, "started")["pid"]
    kill_supervisor(job)
    with pytest.raises(LuthierError, match=str(worker)):
        jobs.start(job)
    with pytest.raises(LuthierError, match="Still running"):
        jobs.remove(job)
    assert jobs.stop(job) and living(worker)
    assert jobs.stop(job, now=True)
    wait_for(lambda: not living(worker))
    assert not jobs.stop(job)
    jobs.remove(job)


@pytest.mark.parametrize("kind", [Starting, Running, Stopping])
def test_a_killed_worker_is_told_by_its_signal(kind: type) -> None:
    job = brought_to(kind)
    os.kill(first(job, "started")["pid"], signal.SIGKILL)
    state = ended(job)
    assert (
        isinstance(state, Stopped)
        if kind is Stopping
        else isinstance(state, Failed) and state.title == "Killed by SIGKILL"
    )


def test_two_stops_at_the_same_moment_are_a_stop() -> None:
    job = brought_to(Running)
    for _ in range(2):
        jobs.stop(job)
    assert isinstance(ended(job), Stopped)
    assert [event["kind"] for event in events(job)].count("stop_requested") == 1


def test_a_waiting_job_that_is_stopped_never_starts() -> None:
    job = brought_to(Queued)
    jobs.stop(job)
    assert isinstance(ended(job), Stopped)
    assert [event["kind"] for event in events(job) if event["kind"] != "waiting"] == [
        "queued",
        "stop_requested",
        "exited",
    ]
    assert job.order is None


def test_the_job_outlives_its_terminal() -> None:
    """A pty whose master is closed under the process that started the job."""
    script = (
        "import signal, sys, time; from jobs.job import submit; from jobs.spec import"
        " Spec;print(submit(Spec('run', 'steps', 'fake_worker', {'conduct': 'steps'})).id,"
        " flush=True); time.sleep(300)"
    )
    master, slave = pty.openpty()

    def take_the_terminal() -> None:
        os.setsid()
        fcntl.ioctl(slave, termios.TIOCSCTTY, 0)

    with subprocess.Popen(
        [sys.executable, "-c", script],
        stdin=slave,
        stdout=slave,
        stderr=slave,
        preexec_fn=take_the_terminal,
    ) as starter:
        os.close(slave)
        line = b""
        while not line.endswith(b"\n"):
            line += os.read(master, 1024)
        os.close(master)
        assert starter.wait() == -signal.SIGHUP
    job = jobs.find(line.decode().strip())
    step = state.step if isinstance(state := in_state(job, Running), Running) else 0
    wait_for(lambda: isinstance(state := job.state(), Running) and state.step > step)


def test_the_job_outlives_the_process_group_that_started_it() -> None:
    script = (
        "from jobs.job import submit; from jobs.spec import Spec; import os,"
        " signal;print(submit(Spec('run', 'steps', 'fake_worker', {'conduct': 'steps'})).id,"
        " flush=True); os.killpg(0, signal.SIGKILL)"
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


def test_a_zombie_is_no_living_worker() -> None:
    """The kernel still answers to its pid; the lock is what counts."""
    child = subprocess.Popen([sys.executable, "-c", "pass"])
    wait_for(lambda: child.pid not in processes.parents())
    os.kill(child.pid, 0)
    job = jobs.create(spec("well"))
    EventLog(job.events_path).append("started", pid=child.pid, shim=child.pid)
    assert isinstance(job.state(), Lost)
    jobs.start(job)
    assert isinstance(ended(job), Done)
    child.wait()


def test_a_pid_that_is_somebody_elses_by_now_is_left_alone() -> None:
    job = jobs.create(spec("well"))
    log = EventLog(job.events_path)
    log.append("queued", attempt=1)
    with subprocess.Popen(["sleep", "300"]) as stranger:
        log.append("started", pid=stranger.pid, shim=stranger.pid)
        assert isinstance(job.state(), Lost)
        assert not jobs.stop(job, now=True)
        jobs.start(job)
        assert isinstance(ended(job), Done)
        assert stranger.poll() is None
        stranger.kill()


def test_of_many_starts_at_once_exactly_one_wins() -> None:
    job = jobs.create(spec("starting"))
    for attempt in range(1, 9):
        won: list[bool] = []
        barrier = threading.Barrier(3)

        def start(barrier: threading.Barrier = barrier, won: list[bool] = won) -> None:
            barrier.wait()
            try:
                jobs.start(job)
                won.append(True)
            except LuthierError as error:
                assert "has a supervisor" in error.message
                won.append(False)

        racers = [threading.Thread(target=start) for _ in range(3)]
        for racer in racers:
            racer.start()
        for racer in racers:
            racer.join()
        assert sorted(won) == [False, False, True]
        assert sum(event["kind"] == "queued" for event in events(job)) == attempt
        end_everything(job)


def test_a_removed_job_never_runs_and_a_running_one_is_never_removed() -> None:
    """Start and removal race; one of them has its way, or neither."""
    for _ in range(6):
        job = jobs.create(spec("starting"))
        done: list[str] = []

        def attempt(what: str, job: Job = job, done: list[str] = done) -> None:
            try:
                getattr(jobs, what)(job)
                done.append(what)
            except LuthierError:
                pass

        racers = [threading.Thread(target=attempt, args=(what,)) for what in ("start", "remove")]
        os.utime(job.directory / "spec.json", (1, 1))  # no longer young, so that it may be removed
        for racer in racers:
            racer.start()
        for racer in racers:
            racer.join()
        assert len(done) <= 1
        assert (job.supervisor() is not None) == (done == ["start"])
        assert job.directory.exists() == (done != ["remove"])


def test_a_torn_last_line_costs_itself_only() -> None:
    job = jobs.submit(spec("well"))
    ended(job)
    with job.events_path.open("ab") as file:
        file.write(b'{"t": 5, "kind": "st')
    assert isinstance(job.state(), Done)
    jobs.start(job)
    assert isinstance(ended(job), Done)
    follower = Follower(job.events_path)
    assert [event["kind"] for event in follower.read()].count(
        "exited"
    ) == 2 and follower.skipped == 1


def test_a_job_made_before_the_clock_was_set_back_can_be_started() -> None:
    job = jobs.create(spec("well"))
    os.utime(job.directory / "spec.json", (4e9, 4e9))
    assert isinstance(job.state(), Lost)
    jobs.start(job)
    assert isinstance(ended(job), Done)


@pytest.mark.skipif(os.geteuid() != 0, reason="mounts a tmpfs, which only root may")
def test_a_full_disk_is_told_and_what_waits_still_has_its_turn(home: Path) -> None:
    home.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "luthier-test", str(home)], check=True)
    try:
        job = jobs.submit(spec("fills the disk", slots=["cpu"]))
        state = ended(job)
        assert isinstance(state, Failed) and state.title == "The disk is full"
        with pytest.raises(LuthierError, match="no space is left"):
            jobs.start(job)
        assert isinstance(job.state(), Failed)
        (job.directory / "checkpoint").unlink()
        running = jobs.submit(spec("steps", slots=["cpu"]))
        in_state(running, Running)
        waiting = jobs.submit(spec("well", slots=["cpu"]))
        with pytest.raises(OSError, match="No space left"):
            (home / "ballast").write_bytes(b"1" * 4_000_000)
        jobs.stop(running, now=True)
        assert isinstance(ended(running), Stopped | Failed)
        assert isinstance(ended(waiting), Done)
    finally:
        for one in jobs.all_jobs():
            end_everything(one)
        subprocess.run(["umount", "--lazy", str(home)], check=True)


def test_after_a_reboot_nothing_starts_by_itself_and_the_queue_is_offered_again() -> None:
    running = jobs.submit(spec("steps", slots=["cpu"]))
    in_state(running, Running)
    line = [jobs.submit(spec(conduct, slots=["cpu"])) for conduct in ("well", "steps", "starting")]
    queue.move(line[2], "first")
    line.insert(0, line.pop())
    for job in [*line, running]:
        kill_supervisor(job)  # what is left: no process, and every lock free
    end_everything(running)
    assert all(isinstance(job.state(), Lost) for job in [running, *line])
    assert [job.id for job in queue.left_waiting()] == [job.id for job in line]
    assert queue.waiting() == []
    new = jobs.submit(spec("starting", slots=["cpu"]))
    in_state(new, Starting)
    queue.queue_again(queue.left_waiting())
    assert [job.id for job in queue.waiting()] == [job.id for job in line]
    assert queue.left_waiting() == [] and isinstance(running.state(), Lost)
