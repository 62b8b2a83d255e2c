"""Starting the leak meter. Light: the app and the command line import it."""

from __future__ import annotations

from pathlib import Path

import msgspec

from jobs.job import Job
from jobs.luthier_error import LuthierError
from jobs.spec import Spec
from models import foreign
from models.chapters import Chapter
from models.runs import Run
from serve.recites.canaries import read_canaries
from workshop.chapter_job import begin, job_behind
from workshop.served_runs import own_model

_MODULE = "workshop.recites.worker"
DEFAULT_ROWS = 100
HELDOUT_ROWS = 40


class Order(msgspec.Struct, frozen=True):
    """What is measured."""

    run: str
    """The run's folder."""
    rows: int = DEFAULT_ROWS
    """How many training answers are asked for, at most."""
    canaries: str = ""
    """A file of texts that were planted in the data, a line each; "" for none."""


def recites(run: Run, rows: int = DEFAULT_ROWS, canaries: Path | None = None) -> Job:
    """The job that measures what a run's model recites. LuthierError if it cannot be measured."""
    check(run)
    if canaries is not None:
        read_canaries(canaries)
    order = Order(str(run.folder.path), rows, str(canaries.absolute()) if canaries else "")
    return begin(
        run,
        Spec(
            kind="recites",
            name=f"{run.name[:30]}-recites",
            module=_MODULE,
            settings={**msgspec.to_builtins(order), "model": run.base_name},
            grace_seconds=30.0,
        ),
    )


def order_of(job: Job) -> Order:
    """LuthierError if the settings of the job are damaged."""
    return foreign.settings_of(job, Order)


def recites_again(run: Run, chapter: Chapter) -> Job:
    """Measure again with the rows and the canaries of a chapter, which its job knows; with the
    defaults if that job was removed."""
    job = job_behind(chapter)
    if job is None:
        return recites(run)
    order = order_of(job)
    return recites(run, order.rows, Path(order.canaries) if order.canaries else None)


def check(run: Run) -> None:
    """LuthierError if the run has nothing to ask, or no data to compare with."""
    if own_model(run) is None:
        run.adapter()
    if not run.folder.train_samples.is_file():
        raise LuthierError(
            "No training data",
            f"{run.folder.data} has no training samples.",
            "Only a run whose folder has its data can be measured.",
        )
