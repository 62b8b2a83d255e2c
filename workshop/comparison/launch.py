"""Starting a comparison as a job, and going on with one. Light: the app imports it."""

from __future__ import annotations

import msgspec

from jobs.job import Job, start, submit
from jobs.luthier_error import LuthierError
from jobs.spec import Spec
from models import foreign
from workshop.comparison.compare import Order, prepare

_MODULE = "workshop.comparison.worker"
_LONGEST = 40  # characters of a name


def start_comparison(order: Order) -> Job:
    """LuthierError for the first thing that is wrong with it; nothing has started then."""
    if not order.runs:
        raise LuthierError(
            "No run is chosen", "A comparison needs a tuned model.", "Choose one, or several."
        )
    prepare(order)
    first = order.runs[0].partition("@")[0]
    return submit(
        Spec(
            kind="compare",
            # a run goes by the same name without the ending
            name=f"{_short(first)}-compare",
            module=_MODULE,
            settings=msgspec.to_builtins(order),
            grace_seconds=30.0,
        )
    )


def go_on(job: Job) -> None:
    """What has been answered is not asked again."""
    order_of(job)
    start(job)


def order_of(job: Job) -> Order:
    """LuthierError if the settings of the job are damaged."""
    return foreign.settings_of(job, Order)


def _short(run: str) -> str:
    from models.runs import Run

    return Run.named(run).name[:_LONGEST]
