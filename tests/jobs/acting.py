"""What tests of jobs do again and again."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from typing import Any

from jobs import job as jobs
from jobs import processes
from jobs.events import Event, Follower
from jobs.job import Job
from jobs.spec import Spec
from jobs.state import State

PATIENCE = 25.0
"""Seconds to wait for what must happen; the machine may be busy."""


def spec(conduct: str, **fields: Any) -> Spec:
    """Orders for the fake worker (tests/fakes/fake_worker.py)."""
    as_a_run: dict[str, Any] = {"preempts": "asks", "before_resting": True}
    return Spec(
        kind="run",
        name=conduct,
        module="fake_worker",
        settings={"conduct": conduct},
        **(as_a_run | fields),
    )


def wait_for(condition: Callable[[], Any], seconds: float = PATIENCE) -> Any:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        value = condition()
        if value:
            return value
        time.sleep(0.02)
    raise AssertionError("it did not happen")


def in_state(job: Job, *kinds: type) -> State:
    """The job's state once it is of one of these kinds."""
    state: State = wait_for(lambda: state if isinstance(state := job.state(), kinds) else None)
    return state


def ended(job: Job) -> State:
    assert jobs.wait(job, PATIENCE)
    return job.state()


def events(job: Job) -> list[Event]:
    """All that can be read of them, every attempt's."""
    return Follower(job.events_path).read(max_seconds=60)


def first(job: Job, kind: str) -> Event:
    return next(event for event in events(job) if event["kind"] == kind)


def kill_supervisor(job: Job) -> None:
    pid = job.supervisor()
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    wait_for(lambda: job.supervisor() is None)


def end_everything(job: Job) -> None:
    """End the job and whatever is left of it, at once."""
    while job.supervisor() is not None or jobs.left_behind(job):
        jobs.stop(job, now=True)
        time.sleep(0.02)


def living(*pids: int) -> list[int]:
    return [pid for pid in pids if pid in processes.parents()]
