"""Asking a server to sleep or to wake, from outside."""

from __future__ import annotations

import time
from collections.abc import Callable

from jobs import giving_way
from jobs.giving_way import Wish
from jobs.job import Job
from jobs.luthier_error import LuthierError
from jobs.state import Asleep, Running, State, word
from serve.plan import ServerPlan

_PATIENCE_SECONDS = 400.0


def check_sleeps(job: Job) -> None:
    """LuthierError if this server cannot sleep."""
    why = ServerPlan.from_json(job.spec.settings).why_sleepless
    if why:
        raise LuthierError(
            "This server cannot sleep",
            why,
            f"`luthier server stop {job.id}` frees the memory that it uses.",
        )


def slots_of(job: Job) -> list[str]:
    """The slots that a server that sleeps will have again; empty for one that is awake."""
    resting = giving_way.resting(job)
    return [] if resting is None else resting.slots


def put_to_sleep(job: Job) -> None:
    """Have a server free its GPU, until somebody wants it. Returns once it sleeps. LuthierError
    with the reason if it does not."""
    check_sleeps(job)
    if not isinstance(job.state(), Running | Asleep):
        raise LuthierError(
            "Not ready", f"{job.id} is {word(job.state())}.", "It can sleep once it is ready."
        )
    giving_way.ask(job, Wish("rest"))
    _wait(job, lambda state: isinstance(state, Asleep) and not state.waking)


def wake(job: Job, wait: bool = True) -> None:
    """Have a server take its GPU again before everybody who waits for it; a job that uses it now is
    let finish."""
    check_sleeps(job)
    if isinstance(job.state(), Asleep):
        giving_way.ask(job, Wish("wake"))
    if wait:
        _wait(job, lambda state: isinstance(state, Running))


def _wait(job: Job, there: Callable[[State], bool]) -> None:
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while not there(state := job.state()):
        wish = giving_way.wish_of(job)
        if wish is not None and wish.refused:
            giving_way.grant(job, wish)
            raise LuthierError("The server did not go to sleep", wish.refused, "Its log says more.")
        if not isinstance(state, Running | Asleep) or time.monotonic() > deadline:
            raise LuthierError(
                "The server did not obey",
                f"{job.id} is {word(state)}.",
                f"`luthier log {job.id}` shows more.",
            )
        time.sleep(0.1)
