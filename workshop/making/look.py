"""A look at what a making would do: a job reads the documents and asks nobody. Light."""

from __future__ import annotations

import shutil
from collections.abc import Callable

import msgspec

from jobs.events import Follower
from jobs.job import stop, wait
from jobs.luthier_error import LuthierError
from jobs.state import Done, Failed
from models import foreign
from models.events import Phase, typed
from workshop.making.keeping import check_out, provenance_of
from workshop.making.launch import make
from workshop.making.order import Order
from workshop.making.preview import PLAN_FILE, Plan

_POLL_SECONDS = 0.1
_STOP_SECONDS = 20.0


def look(
    order: Order,
    base_url: str,
    on_phase: Callable[[str], None],
    is_unwanted: Callable[[], bool] = lambda: False,
) -> Plan | None:
    """Read the documents, and leave nothing behind. None if nobody wants to know any more.
    LuthierError for whatever would keep the making from starting."""
    check_out(order, provenance_of(order, base_url))
    job = make(msgspec.structs.replace(order, only_plan=True), base_url)
    follower = Follower(job.events_path)
    try:
        while not wait(job, _POLL_SECONDS):
            if is_unwanted():
                return None
            for event in map(typed, follower.read()):
                if isinstance(event, Phase):
                    on_phase(event.name)
        state = job.state()
        if isinstance(state, Failed):
            raise LuthierError(state.title, state.message, state.hint)
        if not isinstance(state, Done):
            return None
        return foreign.read(job.directory / PLAN_FILE, Plan)
    finally:
        stop(job)
        wait(job, _STOP_SECONDS)
        shutil.rmtree(job.directory, ignore_errors=True)
