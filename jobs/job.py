"""A job is a folder. This module makes, finds, starts, stops and removes them."""

from __future__ import annotations

import os
import shutil
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from jobs import processes
from jobs.events import Event, last_attempt
from jobs.files import tail_lines
from jobs.foreign_json import Damaged
from jobs.home import home, jobs_directory, private_folder
from jobs.locks import holder
from jobs.luthier_error import LuthierError
from jobs.near import did_you_mean
from jobs.spec import JOB_ID, Kind, Spec, new_id
from jobs.state import Alive, Queued, State, derive
from jobs.uses import check_unused

JOB_VARIABLE = "LUTHIER_JOB"
"""In the environment of a job's worker, and so of all that it starts: the job's folder."""

_MINUTE = len("20261122-1530")  # what an id tells of its time
_YOUNG_SECONDS = 10.0
# characters, which are 240 bytes at most: what stands before them has room in a name, too
_LONGEST_NAME = 60


@dataclass(frozen=True)
class Job:
    directory: Path

    @property
    def id(self) -> str:
        return self.directory.name

    @cached_property
    def spec(self) -> Spec:
        return Spec.read(self.directory)

    def readable(self) -> bool:
        """Whether the job can be read: not while it is being removed, nor if its folder is
        damaged."""
        return not self.damage()

    def damage(self) -> str:
        """Why the job cannot be read, "" if it can: an odd name or spec, or something in the place
        of a file that everybody reads."""
        if not JOB_ID.fullmatch(self.id):
            return "its name is not a job id"
        try:
            _ = self.spec, self.created
        except Damaged as error:
            return f"{Path(str(error.where)).name}: {error.reason}"
        except (LuthierError, OSError):
            return "it has no spec.json"
        return next(
            (
                f"{path.name} {reason}"
                for path in self._read_by_all
                if (reason := _unreadable(path))
            ),
            "",
        )

    @property
    def _read_by_all(self) -> tuple[Path, ...]:
        return self.directory / "lock", self.events_path, self.log_path, self.order_path

    @cached_property
    def events_path(self) -> Path:
        return self.directory / "events.jsonl"

    @cached_property
    def spec_path(self) -> Path:
        return self.directory / "spec.json"

    @property
    def log_path(self) -> Path:
        return self.directory / "output.log"

    @property
    def short_id(self) -> str:
        """The id without its time, for sentences: captain-7f3a. `find` knows it."""
        return self.id[_MINUTE + 1 :]

    @property
    def order_path(self) -> Path:
        return self.directory / "order"

    @property
    def order(self) -> int | None:
        """The number in the queue, while it waits: lower starts first (see jobs.queue)."""
        try:
            return int(self.order_path.read_text())
        except (OSError, ValueError):
            return None

    @cached_property
    def created(self) -> float:
        return self.spec_path.stat().st_mtime

    def supervisor(self) -> int | None:
        """The pid of the living supervisor. Not to be asked by the supervisor itself (see
        jobs.locks.holder)."""
        return holder(self.directory / "lock")

    def events(self) -> list[Event]:
        """The newest events of the last attempt (see jobs.events.last_attempt)."""
        return last_attempt(self.events_path)

    def state(self) -> State:
        return self.look()[0]

    def look(self) -> tuple[State, list[Event]]:
        """The state and the events that it was derived from."""
        # before the events: a job that ends in between is then seen as still ending
        is_supervised = self.supervisor() is not None
        events = self.events()
        if not is_supervised and events and events[-1]["kind"] != "exited":
            events = self.events()  # it ended between the two looks
        log_tail = [] if is_supervised else tail_lines(self.log_path, 20)
        return derive(
            self.spec.ready_phase, is_supervised, events, self.created, time.time(), log_tail
        ), events

    def alive(self) -> bool:
        return isinstance(self.state(), Alive)


def _unreadable(path: Path) -> str:
    """Why a file cannot be read; "" if it can, or is not there."""
    try:
        kind = path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return ""
    except OSError as error:
        return f"cannot be read ({error.strerror})"
    if not stat.S_ISREG(kind):
        return "is not a file"
    return "" if os.access(path, os.R_OK) else "may not be read"


def create(spec: Spec) -> Job:
    """Make the job's folder and write its spec. Nothing runs yet."""
    open_to = private_folder(jobs_directory())
    while True:
        directory = jobs_directory() / new_id(spec.name)
        try:
            directory.mkdir(mode=open_to)
            break
        except FileExistsError:
            continue
    try:
        spec.write(directory)
    except BaseException:
        shutil.rmtree(directory, ignore_errors=True)
        raise
    return Job(directory)


def start(job: Job) -> None:
    """Start the job's supervisor, which outlives this process. Returns once it holds the job's
    lock."""
    Spec.read(job.directory)
    if job.supervisor() is not None:
        raise LuthierError(
            "Already running", f"{job.id} has a supervisor.", f"`luthier stop {job.id}` stops it."
        )
    orphans = left_behind(job)
    if orphans:
        raise LuthierError(
            "Its last worker is still running",
            f"The supervisor of {job.id} has gone, but the processes that it started have not"
            f" ended yet: pid {', '.join(map(str, orphans))}.",
            f"Wait until they have saved their work, or end them: luthier stop {job.id}",
        )
    environment = {key: value for key, value in os.environ.items() if key != JOB_VARIABLE} | {
        "LUTHIER_HOME": str(home())
    }
    command = [sys.executable, "-P", "-m", "jobs.shim", str(job.directory)]
    answer = subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        start_new_session=True,
        env=environment,
        cwd="/",
        check=False,
    )
    if answer.returncode != 0:
        raise LuthierError(
            "The job did not start",
            answer.stderr.strip() or "Its supervisor ended.",
            f"See {job.directory}.",
        )


def descendants_of_own(job: Job) -> list[int]:
    """The descendants of this process, which is the job's, but for those of other jobs that it has
    started."""
    descendants = processes.descendants(os.getpid())
    if not descendants:
        return []
    supervisors = {other.supervisor() for other in folders() if other.id != job.id}
    roots = [pid for pid in descendants if pid in supervisors]
    of_others = {*roots, *(pid for root in roots for pid in processes.descendants(root))}
    return [pid for pid in descendants if pid not in of_others]


def left_behind(job: Job) -> list[int]:
    """Processes that the job started and that live although its supervisor is gone (it was
    killed)."""
    return (
        []
        if job.supervisor() is not None
        else processes.with_environment(f"{JOB_VARIABLE}={job.directory}")
    )


def submit(spec: Spec) -> Job:
    """Make a job and start it."""
    job = create(spec)
    start(job)
    return job


def stop(job: Job, now: bool = False) -> bool:
    """Ask the supervisor to stop the job: with care, or `now`; a second stop is also at once. False
    if it does not run.

    Without a supervisor, what it left behind is ended instead, in the same way.
    """
    pid = job.supervisor()
    if pid is not None:
        processes.send_signal(pid, signal.SIGQUIT if now else signal.SIGTERM)
        return True
    orphans = left_behind(job)
    for orphan in orphans:
        processes.send_signal(orphan, signal.SIGKILL if now else signal.SIGTERM)
    return bool(orphans)


def wait(job: Job, seconds: float | None = None) -> bool:
    """Wait until the job has no supervisor. False when the time is over first."""
    deadline = None if seconds is None else time.monotonic() + seconds
    while job.supervisor() is not None:
        if deadline is not None and time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def folders() -> list[Job]:
    """What stands in the home's jobs folder, whether it can be read or not."""
    try:
        return [
            Job(directory)
            for directory in jobs_directory().iterdir()
            if not directory.name.startswith(".")
        ]
    except FileNotFoundError:
        return []


def all_jobs(*kinds: Kind) -> list[Job]:
    """The jobs of these kinds (of all, if none is named), newest first. Damaged folders are left
    out: see `damaged_jobs`."""
    jobs = [job for job in folders() if job.readable() and (not kinds or job.spec.kind in kinds)]
    return sorted(jobs, key=age_key, reverse=True)


def age_key(job: Job) -> tuple[str, float]:
    """What jobs are sorted by: the newest has the highest."""
    return job.id[:_MINUTE], job.created


@dataclass(frozen=True)
class DamagedJob:
    """A folder that cannot be read as a job, and `why`."""

    job: Job
    why: str

    @property
    def id(self) -> str:
        return self.job.id

    @property
    def error(self) -> Damaged:
        return Damaged(
            self.job.directory,
            self.why,
            f"`luthier remove {self.id}` deletes it and everything in it.",
        )


def damaged_jobs(readable: Collection[str] = ()) -> list[DamagedJob]:
    """The folders that are no readable jobs, by name; those of these ids are. One without a spec
    counts once it is old: it may be about to be written."""
    damaged = []
    candidates = (job for job in folders() if job.id not in readable)
    for job in sorted(candidates, key=lambda job: job.id):
        why = job.damage()
        with suppress(OSError):  # it was removed while we looked
            written = job.directory.stat().st_mtime
            has_spec = job.spec_path.exists()
            if why and (
                has_spec or (JOB_ID.fullmatch(job.id) and time.time() - written > _YOUNG_SECONDS)
            ):
                damaged.append(DamagedJob(job, why))
    return damaged


class Ambiguous(LuthierError):
    """Several jobs match what was typed."""


def find(text: str, *kinds: Kind) -> Job:
    """The job with this id, or the newest of that name, a run before any other kind, or the only
    one whose id contains `text`."""
    candidates = all_jobs(*kinds)
    exact = [job for job in candidates if job.id == text]
    by_name = sorted(
        (job for job in candidates if job.spec.name == text), key=lambda job: job.spec.kind != "run"
    )
    partial = [job for job in candidates if text and text in job.id]
    for matches in (exact, by_name):
        if matches:
            return matches[0]
    if len(partial) == 1:
        return partial[0]
    kind = " or ".join(kinds) if kinds else "job"
    if not partial and (damaged := find_damaged(text)) is not None:
        raise damaged.error
    if partial:
        raise Ambiguous(
            "More than one match",
            f"{text!r} is part of {', '.join(job.id for job in partial[:5])}.",
            "Type more of it.",
        )
    meant = did_you_mean(text, [job.spec.name for job in candidates]) or did_you_mean(
        text, [job.id for job in candidates]
    )
    raise LuthierError(
        f"No such {kind}",
        f"There is no {kind} named {text!r}.",
        f"{meant}`luthier runs` and `luthier server status` list what exists.",
    )


def find_folder(text: str) -> Job:
    """The job as `find` names it, or a damaged folder."""
    try:
        return find(text)
    except Damaged:
        damaged = find_damaged(text)
        if damaged is None:
            raise
        return damaged.job


def find_damaged(text: str) -> DamagedJob | None:
    """The damaged folder of this name, or the only one whose name has `text` in it."""
    candidates = damaged_jobs()
    fitting = [damaged for damaged in candidates if damaged.id == text] or [
        damaged for damaged in candidates if text and text in damaged.id
    ]
    return fitting[0] if len(fitting) == 1 else None


def remove(job: Job) -> None:
    """Delete the job's folder with everything in it. A job that waits is taken out of the queue
    first; refused while it runs, or while another living job needs what is in it."""
    check_unused(job.directory, all_jobs())
    is_readable = job.readable()
    if is_readable and isinstance(job.state(), Queued) and stop(job):
        wait(job, 10)
    doomed = job.directory.with_name(f".removing-{job.id[:_LONGEST_NAME]}")
    if not (job.alive() if is_readable else job.supervisor()) and not left_behind(job):
        try:
            job.directory.rename(doomed)  # of several who remove it, one gets it
        except FileNotFoundError:
            raise _already_removed(job) from None
        try:
            check_unused(job.directory, all_jobs())
            # nobody can start or use it any more; did somebody just before?
            if holder(doomed / "lock") is None:
                (
                    doomed.unlink()
                    if doomed.is_symlink() or doomed.is_file()
                    else shutil.rmtree(doomed)
                )
                return
        except LuthierError:
            doomed.rename(job.directory)
            raise
        doomed.rename(job.directory)
    if not job.directory.exists():
        raise _already_removed(job)
    raise LuthierError(
        "Still running", f"{job.id} is running.", f"Run `luthier stop {job.id}` first."
    )


def _already_removed(job: Job) -> LuthierError:
    return LuthierError(
        "Already removed",
        f"Another process has just removed {job.id}.",
        "`luthier runs` lists the runs that are left.",
    )
