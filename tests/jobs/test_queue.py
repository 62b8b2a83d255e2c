"""The queue: who waits, for whom, in which order, and what may be changed meanwhile."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import pytest

from jobs import job as jobs
from jobs import queue
from jobs.job import Job
from jobs.luthier_error import LuthierError
from jobs.slots import SlotTaker
from jobs.spec import Spec
from jobs.state import Done, Lost, Queued, Running, Stopped
from tests.jobs.acting import ended, in_state, kill_supervisor, spec, wait_for

pytestmark = pytest.mark.heavy


def running() -> Job:
    """A job that has the CPU, and has it until it is stopped."""
    job = jobs.submit(spec("steps", slots=["cpu"]))
    in_state(job, Running)
    return job


def queued(count: int, conduct: str = "well") -> list[Job]:
    return [jobs.submit(spec(conduct, slots=["cpu"])) for _ in range(count)]


def line() -> list[str]:
    return [job.id for job in queue.waiting()]


def ids(*jobs: Job) -> list[str]:
    return [job.id for job in jobs]


def waits_for(job: Job) -> str:
    """What a waiting job says it waits for, once it has said it."""
    return str(wait_for(lambda: isinstance(state := job.state(), Queued) and state.waits_for))


def test_one_after_the_other_in_the_order_of_the_queue_with_no_window_open() -> None:
    first = running()
    line = queued(3, "well")
    assert waits_for(line[0]) == f"{first.short_id} on the CPU"
    jobs.stop(first)
    for job in line:
        assert isinstance(ended(job), Done)
    started = [
        next(event["t"] for event in job.events() if event["kind"] == "started") for job in line
    ]
    assert started == sorted(started)
    assert [job.order for job in line] == [None, None, None]


def test_a_job_without_slots_waits_for_nobody() -> None:
    running()
    (waiting,) = queued(1)
    assert isinstance(ended(jobs.submit(spec("well"))), Done)
    assert line() == ids(waiting)


def test_moves() -> None:
    running()
    a, b, c, d = queued(4)
    assert queue.move(d, "first") == 1 and line() == ids(d, a, b, c)
    assert queue.move(d, "last") == 4 and line() == ids(a, b, c, d)
    assert queue.move(d, "before", b) == 2 and line() == ids(a, d, b, c)
    assert queue.move(b, "up") == 2 and line() == ids(a, b, d, c)
    assert queue.move(a, "up") == 1 and queue.move(c, "down") == 4 and line() == ids(a, b, d, c)
    assert queue.move(a, "down") == 2 and line() == ids(b, a, d, c)
    (late,) = queued(1)
    assert line() == ids(b, a, d, c, late)
    with pytest.raises(LuthierError, match="before itself"):
        queue.move(a, "before", a)


def test_only_what_waits_can_be_moved() -> None:
    first = running()
    (waiting,) = queued(1)
    for job, place, other in [(first, "first", None), (waiting, "before", first)]:
        with pytest.raises(LuthierError, match="is not waiting"):
            queue.move(job, place, other)
    assert line() == ids(waiting)


def test_the_front_of_the_queue_starts_next() -> None:
    first = running()
    a, b = queued(2, "steps")
    queue.move(b, "first")
    jobs.stop(first)
    in_state(b, Running)
    assert isinstance(a.state(), Queued)


def test_a_stopped_and_a_killed_one_leave_the_queue() -> None:
    running()
    a, b, c = queued(3)
    jobs.stop(a)
    assert isinstance(ended(a), Stopped)
    kill_supervisor(b)
    assert line() == ids(c)
    assert isinstance(b.state(), Lost) and queue.left_waiting() == [b]


def test_a_waiting_job_can_be_removed() -> None:
    running()
    a, b = queued(2)
    jobs.remove(a)
    assert line() == ids(b) and not a.directory.exists()


def test_a_damaged_folder_does_not_hold_up_the_queue(home: Path) -> None:
    first = running()
    a, b = queued(2)
    (a.directory / "spec.json").write_text("{")
    jobs.stop(first)
    assert isinstance(ended(b), Done)


def test_nor_does_one_that_is_damaged_while_the_queue_is_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    a, b = (jobs.create(spec("well", slots=["cpu"])) for _ in range(2))
    (a.directory / "spec.json").write_text("{")
    monkeypatch.setattr(queue, "before", lambda job: [a])
    taken = SlotTaker(b).take()
    assert isinstance(taken, list)
    for lock in taken:
        lock.release()


_SHUFFLE = """
import random, sys
from jobs import queue
from jobs.job import find
ids, chance = sys.argv[2:], random.Random(int(sys.argv[1]))
for _ in range(60):
    job, other = chance.sample(ids, 2)
    ways = [("first",), ("last",), ("up",), ("down",), ("before", find(other))]
    queue.move(find(job), *chance.choice(ways))
"""


def test_two_who_move_at_once_lose_no_job() -> None:
    running()
    waiting = queued(5)
    commands = [[sys.executable, "-c", _SHUFFLE, str(seed), *ids(*waiting)] for seed in range(2)]
    shufflers = [subprocess.Popen(command) for command in commands]
    threads = [
        threading.Thread(target=queue.move, args=(job, "first"))
        for job in waiting
        for _ in range(5)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [shuffler.wait(25) for shuffler in shufflers] == [0, 0]
    assert sorted(line()) == sorted(ids(*waiting))
    assert sorted(job.order or 0 for job in waiting) == [1, 2, 3, 4, 5]


def test_new_orders_are_followed_and_the_place_is_kept() -> None:
    first = running()
    a, b = queued(2, "tells its orders")
    created = a.created
    with queue.kept_waiting(a):
        Spec(
            "run",
            "renamed",
            "fake_worker",
            {"conduct": "tells its orders", "new": True},
            slots=["cpu"],
        ).replace(a.directory)
    assert Job(a.directory).created == created and line() == ids(a, b)
    jobs.stop(first)
    state = ended(a)
    assert isinstance(state, Done) and state.result["settings"]["new"] is True


def test_new_orders_come_before_the_start_or_are_refused() -> None:
    """The start and the change race; the job follows what it was told if it was told in time."""
    outcomes = set()
    for _ in range(8):
        first = running()
        (job,) = queued(1, "tells its orders")
        jobs.stop(first, now=True)
        told = 0
        try:
            while True:
                with queue.kept_waiting(job):
                    settings = {"conduct": "tells its orders", "told": told + 1}
                    (job.directory / "recipe.toml").write_text(str(told + 1))
                    Spec("run", "tells", "fake_worker", settings, slots=["cpu"]).replace(
                        job.directory
                    )
                told += 1
        except LuthierError as error:
            assert "is not waiting" in error.message
        state = ended(job)
        assert isinstance(state, Done)
        assert state.result["settings"].get("told", 0) == told
        assert state.result["recipe"] == (str(told) if told else "")
        outcomes.add(told > 0)
    assert True in outcomes
