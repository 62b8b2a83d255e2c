"""The names that models have in the API: base models by theirs, tuned ones by Luthier's own and as
`ft:BASE:luthier:RUN:ID`. Light."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from jobs.home import jobs_directory
from jobs.job import Job
from jobs.near import did_you_mean
from jobs.spec import JOB_ID
from models import registry
from models.runs import Run
from workshop.api.errors import ApiError, no_such_job

ORGANISATION = "luthier"
JOB_PREFIX = "ftjob-"
_CHECKPOINT = ":ckpt-step-"
_STAMP = len("20261122-1530")
_HEX = 4
_STEP = re.compile(r"[0-9]{1,12}")


@dataclass(frozen=True)
class Tuned:
    """What a run left, or a checkpoint of it."""

    run: Run
    step: int | None = None


@dataclass(frozen=True)
class Base:
    """A base model, by its name here."""

    name: str


@dataclass(frozen=True)
class Served:
    """Whatever a running server has under this name."""

    name: str


Named = Tuned | Base | Served


def job_id(run: Run) -> str:
    """The run's id as the API has it."""
    return f"{JOB_PREFIX}{run.id}"


def run_of_id(text: str) -> Run:
    """The run behind a job's id, with or without the prefix. ApiError if there is none (any
    more)."""
    identifier = text.removeprefix(JOB_PREFIX)
    if not JOB_ID.fullmatch(identifier):
        raise no_such_job(text[:100])
    job = Job(jobs_directory() / identifier)
    if not job.readable() or job.spec.kind != "run":
        raise no_such_job(text)
    return Run(job)


def model_name(run: Run, step: int | None = None) -> str:
    """`ft:BASE:luthier:RUN:ID`, with `:ckpt-step-STEP` for a checkpoint. The id is the run's
    without its name, which stands before it."""
    name = run.base_name
    base = registry.display_name(run.base) if "/" in name else name
    identifier = f"{run.id[:_STAMP]}-{run.id[-_HEX:]}"
    parts = ("ft", base.replace(":", "-"), ORGANISATION, run.name.replace(":", "-"), identifier)
    return ":".join(parts) + ("" if step is None else f"{_CHECKPOINT}{step}")


def named(name: str, aliases: Mapping[str, str]) -> Named:
    """What a program means by a model's name. ApiError if it is none."""
    name = aliases.get(name, name)
    if name in _bases():
        return Base(name)
    stem, _, step = name.partition(_CHECKPOINT)
    if name.startswith("ft:"):
        run = next((run for run in nameable_runs() if model_name(run) == stem), None)
        if run is None or (step and not _STEP.fullmatch(step)):
            raise no_such_model(name)
        return Tuned(run, int(step) if step else None)
    stem, at, step = name.partition("@")
    if not at or _STEP.fullmatch(step):
        run = _run_named(stem)
        if run is not None:
            return Tuned(run, int(step) if at else None)
    return Served(name)


def _run_named(name: str) -> Run | None:
    """The run of this id, else the newest of this name that has something to talk to, else the
    newest."""
    fitting = [run for run in nameable_runs() if name in (run.id, run.name)]
    by_id = [run for run in fitting if run.id == name]
    ready = (run for run in by_id or fitting if run.can_talk)
    return next(ready, fitting[0] if fitting else None)


def no_such_model(name: str) -> ApiError:
    names = [*_bases(), *(run.name for run in nameable_runs())]
    return ApiError(
        404,
        "model_not_found",
        f"The model {name[:200]!r} does not exist here. {did_you_mean(name, names)}GET /v1/models"
        " lists them.",
        "model",
    )


def nameable_runs() -> Iterator[Run]:
    """The runs whose settings are whole enough to name their model, the newest first."""
    return (run for run in Run.all() if run.names_its_base)


def _bases() -> list[str]:
    return [model.name for model in registry.list_models() if model.ready]


def checkpoint_folder(tuned: Tuned) -> Path:
    """The folder of a checkpoint. ApiError if it is not there, or not complete."""
    for step, path in tuned.run.folder.complete_checkpoints():
        if step == tuned.step:
            return path
    raise ApiError(
        404,
        "model_not_found",
        f"{tuned.run.id} has no complete checkpoint of step {tuned.step}: the last ones and the"
        " best one stay.",
        "model",
    )
