"""Which jobs need a folder: those whose orders name it, and servers that have loaded something of
it since."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from jobs import foreign_json
from jobs.home import jobs_directory
from jobs.luthier_error import LuthierError

if TYPE_CHECKING:
    from jobs.job import Job

SERVED = "server.json"
"""In a server's folder: what it serves by now."""


def users_of(folder: Path, jobs: Iterable[Job]) -> list[Job]:
    """The jobs, living or not, that name the folder or something in it; what a job has made also as
    commands name it: "ID/merged"."""
    names = {str(folder), str(folder.resolve())}
    if folder.is_relative_to(jobs_directory()):
        names.add(str(folder.relative_to(jobs_directory())))
    return [
        job
        for job in jobs
        if job.directory != folder
        and (_mentions(job.spec.settings, names) or _mentions(_served(job), names))
    ]


def check_unused(folder: Path, jobs: Iterable[Job]) -> None:
    """LuthierError if a living job needs the folder."""
    living = [job for job in users_of(folder, jobs) if job.alive()]
    if living:
        names = ", ".join(f"{job.spec.name} ({job.spec.kind}, {job.id})" for job in living)
        raise LuthierError(
            "In use",
            f"{folder.name} is used by {names}.",
            (f"Run `luthier stop {living[0].id}` first."),
        )


def _served(job: Job) -> object:
    try:
        return foreign_json.read(job.directory / SERVED)
    except (OSError, ValueError):
        return None


def _mentions(value: object, names: Collection[str]) -> bool:
    if isinstance(value, str):
        return any(value == name or value.startswith(f"{name}/") for name in names)
    if isinstance(value, dict):
        return any(_mentions(part, names) for part in value.values())
    return isinstance(value, list) and any(_mentions(part, names) for part in value)
