"""Starting the spill-over map. Light: the app and the command line import it."""

from __future__ import annotations

from pathlib import Path

import msgspec

from jobs.job import Job
from jobs.luthier_error import LuthierError
from jobs.spec import Spec
from models import foreign
from models.chapters import Chapter
from models.runs import Run
from serve.drift.prompts import of_file
from workshop.chapter_job import begin, job_behind
from workshop.served_runs import adapters_of, own_model

_MODULE = "workshop.drift.worker"


class Order(msgspec.Struct, frozen=True):
    """What is measured."""

    run: str
    """The run's folder."""
    prompts: str = ""
    """A file of further prompts; "" for none."""
    unit: str = ""
    """The folder of another seed's run, whose distance is the unit; "" for none."""


def drift(run: Run, prompts: Path | None = None, unit: Run | None = None) -> Job:
    """The job that measures where a run's model drifted. LuthierError if it cannot be measured."""
    check(run, unit)
    if prompts is not None:
        of_file(prompts)
    order = Order(
        str(run.folder.path),
        str(prompts.absolute()) if prompts else "",
        str(unit.folder.path) if unit else "",
    )
    return begin(
        run,
        Spec(
            kind="drift",
            name=f"{run.name[:30]}-drift",
            module=_MODULE,
            settings={**msgspec.to_builtins(order), "model": run.base_name},
            grace_seconds=30.0,
        ),
    )


def order_of(job: Job) -> Order:
    """LuthierError if the settings of the job are damaged."""
    return foreign.settings_of(job, Order)


def drift_again(run: Run, chapter: Chapter) -> Job:
    """Measure again with the prompts and the unit of a chapter, which its job knows; with none if
    that job was removed."""
    job = job_behind(chapter)
    if job is None:
        return drift(run)
    order = order_of(job)
    return drift(
        run,
        Path(order.prompts) if order.prompts else None,
        Run(Job(Path(order.unit))) if order.unit else None,
    )


def check(run: Run, unit: Run | None) -> None:
    """LuthierError if the run has nothing to ask, or the unit cannot stand beside it."""
    is_model = own_model(run) is not None
    if not is_model:
        run.adapter()
    if unit is None:
        return
    if unit.id == run.id:
        raise LuthierError(
            "No unit",
            f"{run.id} is the run itself.",
            "Name a run of the same recipe with another seed.",
        )
    if is_model or own_model(unit) is not None:
        raise LuthierError(
            "No unit for a whole model",
            "The unit must be an adapter that the same server can load beside the run's.",
            "Leave --unit out.",
        )
    adapters_of([run, unit])
