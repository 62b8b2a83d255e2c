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

from jobs import processes, state
from jobs.errors import LuthierError
from jobs.events import Event, last_attempt
from jobs.files import tail_lines, write_atomic
from jobs.home import home, jobs_directory
from jobs.locks import holder
from jobs.spec import JOB_ID, Kind, Spec, new_id

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

    @property
    def events_path(self) -> Path:
        return self.directory / "events.jsonl"

    @property
    def log_path(self) -> Path:
        return self.directory / "output.log"

    @property
    def order(self) -> float:
        """The place in the queue: lower starts first."""
        try:
            return float((self.directory / "order").read_text())
        except (FileNotFoundError, ValueError):
            return self.created

    @property
    def created(self) -> float:
        return (self.directory / "spec.json").stat().st_mtime

    def supervisor(self) -> int | None:
        """The pid of the living supervisor. Not to be asked by the supervisor itself (see jobs.locks.holder)."""
        return holder(self.directory / "lock")

    def events(self) -> list[Event]:
        """The newest events of the last attempt (see jobs.events.last_attempt)."""
        return last_attempt(self.events_path)

    def state(self) -> state.State:
        held = self.supervisor() is not None  # before the events: a job that ends in between is then seen as still ending
        events = self.events()
        if not held and events and events[-1]["kind"] != "exited":
            events = self.events()  # it ended between the two looks
        log_tail = [] if held else tail_lines(self.log_path, 20)
        return state.derive(self.spec.kind, held, events, self.created, time.time(), log_tail)

    def alive(self) -> bool:
        return isinstance(self.state(), state.Alive)


def create(spec: Spec) -> Job:
    """Make the job's folder and write its spec. Nothing runs yet."""
    jobs_directory().mkdir(parents=True, exist_ok=True)
    while True:
        directory = jobs_directory() / new_id(spec.name)
        try:
            directory.mkdir()
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
    if job.supervisor() is not None:
        raise LuthierError("Already running", f"{job.id} has a supervisor.", f"`luthier stop {job.id}` stops it.")
    orphan = next((event["pid"] for event in job.events() if event["kind"] == "started"), None)
    if orphan is not None and processes.is_running(orphan, str(job.directory)):
        raise LuthierError(
            "Its last worker still lives",
            f"The supervisor of {job.id} is gone, but its worker (pid {orphan}) is still ending.",
            f"Wait until it has saved its work, or end it: kill {orphan}",
        )
    environment = {**os.environ, "LUTHIER_HOME": str(home())}
    command = [sys.executable, "-P", "-m", "jobs.shim", str(job.directory)]
    answer = subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, start_new_session=True, env=environment, cwd="/", check=False
    )
    if answer.returncode != 0:
        raise LuthierError("The job did not start", answer.stderr.strip() or "Its supervisor ended.", f"See {job.directory}.")


def submit(spec: Spec) -> Job:
    """Make a job and start it."""
    job = create(spec)
    start(job)
    return job


def stop(job: Job) -> bool:
    """Ask the supervisor to stop the job: the first time with care, the second time at once. False if it does not run."""
    pid = job.supervisor()
    if pid is None:
        return False
    processes.send_signal(pid, signal.SIGTERM)
    return True


def wait(job: Job, seconds: float | None = None) -> bool:
    """Wait until the job has no supervisor. False when the time is over first."""
    deadline = None if seconds is None else time.monotonic() + seconds
    while job.supervisor() is not None:
        if deadline is not None and time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def set_order(job: Job, order: float) -> None:
    write_atomic(job.directory / "order", f"{order!r}\n")


def all_jobs(*kinds: Kind) -> list[Job]:
    """The jobs of these kinds (of all, if none is named), newest first. Folders without a readable spec are left out."""
    if not jobs_directory().is_dir():
        return []
    found = []
    for directory in jobs_directory().iterdir():
        job = Job(directory)
        if not JOB_ID.fullmatch(directory.name) or not (directory / "spec.json").is_file():
            continue
        try:
            kind = job.spec.kind
        except LuthierError:
            continue
        if not kinds or kind in kinds:
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
    """Delete the job's folder with everything in it. Refused while it runs."""
    if job.alive():
        raise LuthierError("Still running", f"{job.id} runs.", f"`luthier stop {job.id}` first.")
    doomed = job.directory.with_name(f".removing-{job.id}")
    job.directory.rename(doomed)
    shutil.rmtree(doomed)
