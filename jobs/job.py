"""A job is a folder. This module makes, finds, starts, stops and removes them."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from jobs import processes
from jobs.errors import LuthierError
from jobs.events import Event, last_attempt
from jobs.files import tail_lines
from jobs.home import home, jobs_directory, private_folder
from jobs.locks import holder
from jobs.spec import JOB_ID, Kind, Spec, new_id
from jobs.state import Alive, Queued, State, derive
from jobs.uses import check_unused

JOB_VARIABLE = "LUTHIER_JOB"
"""In the environment of a job's worker, and so of all that it starts: the job's folder."""

_MINUTE = len("20261122-1530")  # what an id tells of its time


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
        """Whether there is a spec that can be read: not while the job is removed."""
        try:
            _ = self.spec, self.created
        except (LuthierError, FileNotFoundError):
            return False
        return True

    @property
    def events_path(self) -> Path:
        return self.directory / "events.jsonl"

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
        except (FileNotFoundError, NotADirectoryError, ValueError):
            return None

    @cached_property
    def created(self) -> float:
        return (self.directory / "spec.json").stat().st_mtime

    def supervisor(self) -> int | None:
        """The pid of the living supervisor. Not to be asked by the supervisor itself (see jobs.locks.holder)."""
        return holder(self.directory / "lock")

    def events(self) -> list[Event]:
        """The newest events of the last attempt (see jobs.events.last_attempt)."""
        return last_attempt(self.events_path)

    def state(self) -> State:
        return self.look()[0]

    def look(self) -> tuple[State, list[Event]]:
        """The state and the events that it was told from."""
        held = self.supervisor() is not None  # before the events: a job that ends in between is then seen as still ending
        events = self.events()
        if not held and events and events[-1]["kind"] != "exited":
            events = self.events()  # it ended between the two looks
        log_tail = [] if held else tail_lines(self.log_path, 20)
        return derive(self.spec.kind, held, events, self.created, time.time(), log_tail), events

    def alive(self) -> bool:
        return isinstance(self.state(), Alive)


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
    """Start the job's supervisor, which outlives this process. Returns once it holds the job's lock."""
    Spec.read(job.directory)
    if job.supervisor() is not None:
        raise LuthierError("Already running", f"{job.id} has a supervisor.", f"`luthier stop {job.id}` stops it.")
    orphans = left_behind(job)
    if orphans:
        raise LuthierError(
            "Its last worker still lives",
            f"The supervisor of {job.id} is gone, but what it started is still ending: pid {', '.join(map(str, orphans))}.",
            f"Wait until it has saved its work, or end it: luthier stop {job.id}",
        )
    environment = {key: value for key, value in os.environ.items() if key != JOB_VARIABLE} | {"LUTHIER_HOME": str(home())}
    command = [sys.executable, "-P", "-m", "jobs.shim", str(job.directory)]
    answer = subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, start_new_session=True, env=environment, cwd="/", check=False
    )
    if answer.returncode != 0:
        raise LuthierError("The job did not start", answer.stderr.strip() or "Its supervisor ended.", f"See {job.directory}.")


def left_behind(job: Job) -> list[int]:
    """Processes that the job started and that live although its supervisor is gone (it was killed)."""
    return [] if job.supervisor() is not None else processes.with_environment(f"{JOB_VARIABLE}={job.directory}")


def submit(spec: Spec) -> Job:
    """Make a job and start it."""
    job = create(spec)
    start(job)
    return job


def stop(job: Job, now: bool = False) -> bool:
    """Ask the supervisor to stop the job: with care, or `now`; a second stop is also at once. False if it does not run.

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


def all_jobs(*kinds: Kind) -> list[Job]:
    """The jobs of these kinds (of all, if none is named), newest first. Folders without a readable spec are left out."""
    if not jobs_directory().is_dir():
        return []
    found = []
    for directory in jobs_directory().iterdir():
        job = Job(directory)
        if JOB_ID.fullmatch(directory.name) and job.readable() and (not kinds or job.spec.kind in kinds):
            found.append(job)
    return sorted(found, key=lambda job: (job.id[:_MINUTE], job.created), reverse=True)


def find(text: str, *kinds: Kind) -> Job:
    """The job with this id, or the only one whose id contains `text`, or the newest of that name."""
    candidates = all_jobs(*kinds)
    exact = [job for job in candidates if job.id == text]
    named = [job for job in candidates if job.spec.name == text]
    partial = [job for job in candidates if text and text in job.id]
    for matches in (exact, named):
        if matches:
            return matches[0]
    if len(partial) == 1:
        return partial[0]
    what = " or ".join(kinds) if kinds else "job"
    if partial:
        raise LuthierError("More than one match", f"{text!r} is part of {', '.join(job.id for job in partial[:5])}.", "Give more of it.")
    raise LuthierError(f"No such {what}", f"No {what} is named {text!r}.", "`luthier runs` and `luthier server status` list what is there.")


def remove(job: Job) -> None:
    """Delete the job's folder with everything in it. A job that waits is taken out of the queue first; refused while it runs, or while
    another living job needs what is in it."""
    check_unused(job.directory, all_jobs())
    if isinstance(job.state(), Queued) and stop(job):
        wait(job, 10)
    doomed = job.directory.with_name(f".removing-{job.id}")
    if not job.alive() and not left_behind(job):
        try:
            job.directory.rename(doomed)  # of several who remove it, one gets it
        except FileNotFoundError:
            raise _already_removed(job) from None
        try:
            check_unused(job.directory, all_jobs())
            if holder(doomed / "lock") is None:  # nobody can start or use it any more; did somebody just before?
                shutil.rmtree(doomed)
                return
        except LuthierError:
            doomed.rename(job.directory)
            raise
        doomed.rename(job.directory)
    if not job.directory.exists():
        raise _already_removed(job)
    raise LuthierError("Still running", f"{job.id} runs.", f"`luthier stop {job.id}` first.")


def _already_removed(job: Job) -> LuthierError:
    return LuthierError("Already removed", f"Something else has just removed {job.id}.", "`luthier runs` shows what is there.")
