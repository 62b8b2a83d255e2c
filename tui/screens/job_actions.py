"""Stopping and deleting a job from a screen: asked once, done in the background."""

from __future__ import annotations

from pathlib import Path

from jobs import job as jobs
from jobs.job import Job
from jobs.state import Stopping
from tui import figures
from tui.messages import JobRemoved
from tui.screens.base import LuthierScreen
from tui.widgets.confirm_modal import ConfirmModal


def what_stays(job: Job) -> str:
    """What a stop leaves of a job, in a sentence."""
    if job.spec.kind == "server":
        return "The models that it serves stay on disk; whoever talks to it now is cut off."
    if job.spec.kind != "run":
        return "It can be started again."
    saved = [event for event in job.events() if event["kind"] == "checkpoint"]
    if saved:
        return f"Checkpoint {saved[-1].get('step')} stays, as do its figures and its log."
    return "No checkpoint has been saved yet: its figures and its log stay, what it has learned does not."


def confirm_stop(screen: LuthierScreen, job: Job) -> None:
    """Ask, then stop: with care the first time, at once the second."""

    def answered(yes: bool | None) -> None:
        if yes:
            jobs.stop(job)
            screen.app.read_jobs()

    name = job.spec.name
    if isinstance(job.state(), Stopping):
        question = ConfirmModal(
            f"Stop {name} at once?", "It is stopping already. Whatever it has not saved is lost.", yes="at once", no="wait"
        )
    else:
        question = ConfirmModal(f"Stop {name}?", what_stays(job), yes="stop it", no="let it run")
    screen.app.push_screen(question, answered)


def confirm_removal(screen: LuthierScreen, job: Job) -> None:
    """Ask, with the size and the path, then delete in the background."""

    def remove() -> JobRemoved:
        jobs.remove(job)
        return JobRemoved(job.spec.name)

    def answered(yes: bool | None) -> None:
        if yes:
            screen.in_background(remove)

    message = f"{job.directory}\n{figures.size(folder_size(job.directory))}, with everything in it. It cannot be brought back."
    screen.app.push_screen(ConfirmModal(f"Delete {job.spec.name}?", message, yes="delete", no="keep"), answered)


def folder_size(directory: Path) -> int:
    """The bytes of all files below a folder."""
    return sum(path.lstat().st_size for path in directory.rglob("*") if path.is_file())
