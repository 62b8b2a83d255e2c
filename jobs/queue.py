"""The queue: the jobs that wait for their slots, in the order in which they were queued or put.

A waiting job has a number in its folder's `order` file; the lowest goes first. Its supervisor
writes it, and removes it when it has its slots, both under `queue.lock`: whoever holds that lock
knows who waits, and that nobody starts meanwhile.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import takewhile

from jobs import giving_way, processes
from jobs.files import write_atomic
from jobs.home import home
from jobs.job import Job, all_jobs, folders, start
from jobs.locks import Lock
from jobs.luthier_error import LuthierError
from jobs.state import Lost

# The kernel's lock does not keep two threads of one process apart, and one's release would be the
# other's.
_threads = threading.Lock()


class NotWaiting(LuthierError):
    """The job does not wait in the queue, or not any more."""


@contextmanager
def locked() -> Iterator[None]:
    """Nobody joins, leaves or changes the queue but this thread. Hold it for moments, and take no
    other lock meanwhile."""
    home().mkdir(parents=True, exist_ok=True)
    lock = Lock(home() / "queue.lock")
    with _threads:
        lock.acquire(wait=True)
        try:
            yield
        finally:
            lock.release()


def waiting(besides: Job | None = None) -> list[Job]:
    """The jobs that wait, the next one first. A supervisor leaves its own job out: asking for its
    lock would drop it."""
    own_id = besides.id if besides else ""
    return [job for job in _line(own_id) if job.id != own_id]


def before(job: Job) -> list[Job]:
    """The jobs that wait and come before this one. For its supervisor."""
    return list(takewhile(lambda other: other.id != job.id, _line(job.id)))


def _line(own_id: str = "") -> list[Job]:
    """Everybody who waits, `own` (an id) counted without asking whether it lives.

    A job that rests and wants its slots back goes behind the last one that waits `before_resting`,
    or first if somebody wants it now.
    """
    ordered = _ordered(own_id)
    resting = [
        (rests, job)
        for job in folders()
        if (rests := giving_way.resting(job)) is not None and _lives(job, own_id)
    ]
    now = [job for rests, job in resting if rests.wakes == "first"]
    later = [job for rests, job in resting if rests.wakes == "after runs"]
    behind = max(
        (index + 1 for index, job in enumerate(ordered) if job.spec.before_resting), default=0
    )
    return [*now, *ordered[:behind], *later, *ordered[behind:]]


def _ordered(own_id: str = "") -> list[Job]:
    """Those who wait by their numbers: whom a person may move."""
    numbered = sorted(
        ((order, job.id, job) for order, job in _numbered()), key=lambda entry: entry[:2]
    )
    return [job for _, _, job in numbered if _lives(job, own_id)]


def _lives(job: Job, own_id: str) -> bool:
    return job.id == own_id or job.supervisor() is not None


def enter(job: Job) -> None:
    """Put a job at the end of the queue. For its supervisor."""
    with locked():
        _put(job, 1 + max((order for order, _ in _numbered()), default=0))


def leave(job: Job) -> None:
    """Take a job out of the queue, because it starts or will not. For its supervisor."""
    job.order_path.unlink(missing_ok=True)
    (job.directory / "resting.json").unlink(missing_ok=True)


def move(job: Job, target: str, other: Job | None = None) -> int:
    """Put a waiting job "first", "last", "up" or "down" by one, or "before" another waiting one.
    Its place then, from 1 on."""
    with locked():
        line = _ordered()
        at = _place_of(job, line)
        others_in_line = line[:at] + line[at + 1 :]
        match target:
            case "first":
                to = 0
            case "last":
                to = len(others_in_line)
            case "up":
                to = max(0, at - 1)
            case "down":
                to = min(len(others_in_line), at + 1)
            case "before" if other is not None:
                if other.id == job.id:
                    raise LuthierError(
                        "A job cannot go before itself",
                        f"{job.id} cannot be moved before itself.",
                        "Name another waiting job.",
                    )
                to = _place_of(other, others_in_line)
            case _:
                raise ValueError(target)
        others_in_line.insert(to, job)
        for number, waiting_job in enumerate(others_in_line, 1):
            if waiting_job.order != number:
                _put(waiting_job, number)
    wake(others_in_line)
    return to + 1


def position(job: Job) -> int:
    """The job's place in the queue, from 1 on. LuthierError if it does not wait."""
    return _place_of(job, waiting()) + 1


@contextmanager
def kept_waiting(job: Job) -> Iterator[None]:
    """In this block the job does not start, so that its orders can be replaced. LuthierError if it
    has started, or does not wait."""
    with locked():
        _place_of(job, waiting())
        yield
    wake([job])


def wake(line: Sequence[Job]) -> None:
    """Have the supervisors of waiting jobs look at the queue now; they look by themselves, but
    seldom from its end."""
    for job in line:
        pid = job.supervisor()
        if pid is not None:
            processes.send_signal(pid, signal.SIGHUP)


def left_waiting() -> list[Job]:
    """The jobs that waited when their supervisors ended without a word (a reboot), in the order of
    their queue."""
    lost = [job for job in all_jobs() if isinstance(state := job.state(), Lost) and state.waited]
    return sorted(lost, key=lambda job: (job.order or float("inf"), job.created))


def queue_again(left: Sequence[Job]) -> None:
    """Queue jobs that were left waiting, the first one first."""
    for job in left:
        start(job)


def _numbered() -> list[tuple[int, Job]]:
    """Every job that has a number, in no order: those that wait, and those that waited when the
    machine went down."""
    return [
        (order, job) for job in folders() if (order := job.order) is not None and job.readable()
    ]


def _put(job: Job, number: int) -> None:
    write_atomic(job.order_path, f"{number}\n", flush=False)


def _place_of(job: Job, line: list[Job]) -> int:
    position_in_line = next(
        (index for index, waiting_job in enumerate(line) if waiting_job.id == job.id), None
    )
    if position_in_line is None:
        hint = "`luthier runs --queue` shows what waits."
        raise NotWaiting(
            "Not in the queue", f"{job.id} is not waiting in the queue (any more).", hint
        )
    return position_in_line
