"""Starting a making, and where the answers to its questions are cached. Light."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from jobs.job import Job, submit
from jobs.spec import Spec, slug
from workshop.asking import opening
from workshop.making.keeping import check_out, provenance_of
from workshop.making.order import Order

MODULE = "workshop.making.worker"
_GRACE_SECONDS = 30.0


def make(order: Order, base_url: str) -> Job:
    """A job that makes the conversations. LuthierError if the folder for them holds something
    else."""
    if not order.only_plan:
        check_out(order, provenance_of(order, base_url))
    settings: dict[str, Any] = msgspec.to_builtins(order)
    name = f"make-{slug(Path(order.files[0]).stem)[:30]}"
    return submit(Spec("make", name, MODULE, settings, grace_seconds=_GRACE_SECONDS))


def cache_of(model: str, base_url: str) -> Path:
    """All answers of a model, whichever documents they are about."""
    return opening.cache_of("makings", model, base_url)
