"""Starting a rescue, and where its answers are cached. Light."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import msgspec

from jobs.job import Job, all_jobs, create, start
from jobs.luthier_error import LuthierError
from jobs.spec import Spec, slug
from workshop.asking import opening
from workshop.rescue.kept import check_out
from workshop.rescue.order import Order, order_of
from workshop.rescue.questions import Question, write_questions

MODULE = "workshop.rescue.worker"
_GRACE_SECONDS = 30.0


def rescue(order: Order, base_url: str, questions: list[Question]) -> Job:
    """A job that asks the questions. LuthierError if another one asks this model already, or the
    folder for the answers holds something else."""
    check_out(order, base_url, len(questions))
    for job in all_jobs("rescue"):
        other = order_of(job)
        if (other.model, other.address) == (order.model, order.address) and job.alive():
            raise LuthierError(
                "Already asking",
                f"{job.id} asks {order.model} just now.",
                f"`luthier log -f {job.id}` follows it, `luthier stop {job.id}` stops it.",
            )
    settings: dict[str, Any] = msgspec.to_builtins(order)
    name = f"rescue-{slug(order.model)[:30]}"
    job = create(
        Spec(
            "rescue",
            name,
            MODULE,
            settings,
            grace_seconds=_GRACE_SECONDS,
            starts_jobs=bool(order.base),
        )
    )
    try:
        write_questions(job.directory, questions)
        start(job)
    except BaseException:
        shutil.rmtree(job.directory, ignore_errors=True)
        raise
    return job


def cache_of(model: str, base_url: str) -> Path:
    """All answers of a model, whatever they were asked for."""
    return opening.cache_of("rescues", model, base_url)
