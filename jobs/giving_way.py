"""Giving way: a job lets go of its slots for a while and takes them again later (a server that
sleeps while a run trains).

Two files in its folder tell of it. `wish.json` is what somebody asks of it: that it rest, or that
it wake. `resting.json` is its own word: while that is there, its supervisor holds no slots for it,
and stands in the queue as the file says. The supervisor removes it when it has the slots again.
Both supervisors and workers of one folder may die at any moment: the next attempt begins without
either file.
"""

from __future__ import annotations

import json
import signal
import tomllib
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args

from jobs import foreign_json, processes
from jobs.files import write_atomic
from jobs.foreign_json import Damaged
from jobs.home import home, jobs_directory
from jobs.job import Job
from jobs.spec import BesideServer, Spec

T = TypeVar("T")

SETTING = "training_beside_server"
"""The key in config.toml that remembers what runs do about a server that holds their GPU: one of
`BesideServer`."""


@dataclass(frozen=True)
class Wish:
    """What is asked of a job, `by` another one (its id) or, where that is empty, a person.
    `refused`: why it does not do so."""

    what: Literal["rest", "wake"]
    by: str = ""
    refused: str = ""


@dataclass(frozen=True)
class Resting:
    """What a job that rests had and will have again: `slots`, and what must be free on each GPU for
    that. `wakes` says when: not by itself; once no run waits for the slots; or before everybody who
    waits, since somebody wants it now. `by`: the job for which it rests."""

    slots: list[str]
    gpu_bytes: int
    wakes: Literal["no", "after runs", "first"]
    by: str = ""

    def must_wait(self) -> bool:
        """Whether the job for which it rests still waits, for somebody else to give way, too: until
        then the slots stay free for it."""
        asker = Job(jobs_directory() / self.by)
        return (
            self.wakes == "after runs"
            and bool(self.by)
            and asker.order is not None
            and asker.supervisor() is not None
        )


def ask(job: Job, wish: Wish) -> None:
    write_atomic(job.directory / "wish.json", json.dumps(asdict(wish)), flush=False)


def wish_of(job: Job) -> Wish | None:
    """What is asked of the job now."""
    return _read(job.directory / "wish.json", Wish)


def grant(job: Job, wish: Wish) -> None:
    """The job has done what it was asked. What somebody has asked since stays."""
    if wish_of(job) == wish:
        _forget_wish(job)


def rest(job: Job, resting: Resting) -> None:
    """Have the supervisor let go of the slots, or stand in the queue for them. For the worker,
    under `queue.locked`."""
    write_atomic(job.directory / "resting.json", json.dumps(asdict(resting)), flush=False)
    supervisor = job.supervisor()
    if supervisor is not None:
        processes.send_signal(supervisor, signal.SIGHUP)


def resting(job: Job) -> Resting | None:
    """How the job rests; None if it does not, or has its slots again."""
    return _read(job.directory / "resting.json", Resting)


def forget(job: Job) -> None:
    """No wish and no rest. For the supervisor, at the beginning and the end."""
    _forget_wish(job)
    (job.directory / "resting.json").unlink(missing_ok=True)


def orders(job: Job) -> Spec:
    """What a job that waits needs: of one that rests, the slots that it had."""
    spec, rests = Spec.read(job.directory), resting(job)
    return spec if rests is None else replace(spec, slots=rests.slots, gpu_bytes=rests.gpu_bytes)


def beside_server(spec: Spec) -> BesideServer:
    """What a job does about a server that holds its GPU: what its orders say, else the setting,
    else it asks."""
    choice = spec.beside_server or _setting()
    return choice if choice in get_args(BesideServer) else ""


def _forget_wish(job: Job) -> None:
    (job.directory / "wish.json").unlink(missing_ok=True)


def _setting() -> Any:
    try:
        return tomllib.loads((home() / "config.toml").read_text(encoding="utf-8")).get(SETTING, "")
    # none, or a damaged one, which must not keep a run from its turn
    except (OSError, ValueError, RecursionError):
        return ""


def _read(path: Path, kind: type[T]) -> T | None:
    try:
        return foreign_json.read_as(path, kind)
    # a job neither rests nor is asked to by what nobody can read
    except (FileNotFoundError, Damaged):
        return None
