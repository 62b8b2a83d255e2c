"""Fine-tuning jobs as runs: made once, cancelled, paused, and told to go on. Light."""

from __future__ import annotations

import shutil
import threading
import time
from dataclasses import replace

from jobs.events import EventLog
from jobs.job import Job, all_jobs, stop
from jobs.luthier_error import LuthierError
from jobs.spec import Spec
from jobs.state import Alive, Done, Failed, Lost, Stopped, Stopping, word
from models import events
from models.runs import Run
from trainer.launch import resume, run_spec, submit_run
from trainer.recipe import Recipe
from workshop.api import files
from workshop.api.errors import ApiError, refused
from workshop.api.names import job_id
from workshop.api.order import Order, order_of, recipe_of
from workshop.api.plan import ApiPlan
from workshop.api.run_log import RunLog

_SAME_REQUEST_SECONDS = 900.0
"""How long a repeated request counts as the same one: OpenAI's client gives up long before."""
_YOUNG_SECONDS = 15.0
_HEARD_SECONDS = 3.0
# One at a time plans and starts, so that a request that is sent twice meets the first one's run.
_creating = threading.Lock()


def create(order: Order, plan: ApiPlan, *, is_retry: bool) -> Run:
    """The run of an order. One that a client sends again (it says so, or its idempotency key does)
    gets the run that there is. ApiError where something cannot be honoured."""
    with _creating:
        existing = _made_before(order, is_retry=is_retry)
        if existing is not None:
            return existing
        recipe = recipe_of(order, plan.aliases)
        try:
            spec = spec_of(recipe)
            spec = replace(spec, settings={**spec.settings, "fine_tuning": order.to_json()})
            return Run(submit_run(recipe, spec))
        except LuthierError as error:
            raise refused(error, "cannot_be_trained") from None


def spec_of(recipe: Recipe) -> Spec:
    """The orders of a run. LuthierError at the first thing that is wrong."""
    return run_spec(recipe)


def _made_before(order: Order, *, is_retry: bool) -> Run | None:
    if not (is_retry or order.idempotency_key):
        return None
    for run in Run.all():
        if time.time() - run.job.created > _SAME_REQUEST_SECONDS and not order.idempotency_key:
            break
        earlier = order_of(run.fine_tuning)
        if earlier is None or _is_half_made(run.job):
            continue
        if order.idempotency_key and earlier.idempotency_key == order.idempotency_key:
            if earlier.digest != order.digest:
                raise ApiError(
                    409,
                    "idempotency_key_in_use",
                    f"Another request with this Idempotency-Key made {job_id(run)}.",
                )
            return run
        if is_retry and not order.idempotency_key and earlier.digest == order.digest:
            return run
    return None


def sweep() -> None:
    """Delete the folders of jobs that a killed API was about to start: nobody was told of them."""
    with _creating:
        for job in all_jobs("run"):
            is_old = time.time() - job.created > _YOUNG_SECONDS
            if is_old and order_of(Run(job).fine_tuning) is not None and _is_half_made(job):
                shutil.rmtree(job.directory, ignore_errors=True)


def _is_half_made(job: Job) -> bool:
    """Whether it has a spec, and its supervisor never came to its first event."""
    return not job.events() and job.supervisor() is None


def cancel(run: Run) -> None:
    """Stop the run for good. One that was paused is cancelled as well."""
    state = run.job.state()
    if isinstance(state, Stopped | Stopping):
        # the newest of the two wishes counts
        _say(run, events.CancelRequested())
        return
    if not isinstance(state, Alive):
        raise _not_now(run, "cancelled", word(state))
    _stop(run.job)


def pause(run: Run) -> None:
    """Stop the run with a checkpoint, from which `go_on` lets it go on."""
    state = run.job.state()
    if isinstance(state, Stopped | Stopping) and _is_paused(run):
        return
    if not isinstance(state, Alive) or isinstance(state, Stopping):
        raise _not_now(run, "paused", word(state))
    _say(run, events.PauseRequested())
    _stop(run.job)


def _stop(job: Job) -> None:
    """Ask the supervisor, and wait a moment until it has heard: the answer tells the new state."""
    stop(job)
    deadline = time.monotonic() + _HEARD_SECONDS
    while time.monotonic() < deadline:
        state = job.state()
        if isinstance(state, Stopping) or not isinstance(state, Alive):
            return
        time.sleep(0.02)


def go_on(run: Run) -> None:
    """Have a run that was paused, failed or lost go on from its newest checkpoint, exactly."""
    state = run.job.state()
    if isinstance(state, Alive):
        raise _not_now(run, "resumed", word(state))
    can_go_on = isinstance(state, Failed | Lost) or _is_paused(run)
    if isinstance(state, Done) or not can_go_on:
        raise _not_now(run, "resumed", "done" if isinstance(state, Done) else "cancelled")
    try:
        resume(run.job)
    except LuthierError as error:
        raise refused(error, "cannot_resume", status=409) from None


def remove_file(file_id: str) -> None:
    """Delete an uploaded file. ApiError where a run still needs it: one that lives, or waits to go
    on."""
    with _creating:
        stored = files.stored_file(file_id)
        users = [job_id(run) for run in Run.all() if _needs(run, file_id)]
        if users:
            message = f"{file_id} is used by {', '.join(users)}."
            raise ApiError(409, "file_in_use", message, "id")
        files.remove_file(stored)


def _needs(run: Run, file_id: str) -> bool:
    order = order_of(run.fine_tuning)
    if order is None or file_id not in order.files:
        return False
    state = run.job.state()
    if isinstance(state, Stopped | Stopping):
        return _is_paused(run)
    return isinstance(state, Alive)


def _is_paused(run: Run) -> bool:
    log = RunLog(run)
    log.read()
    return log.is_pausing


def _say(run: Run, event: events.PauseRequested | events.CancelRequested) -> None:
    log = EventLog(run.job.events_path)
    try:
        log.append(events.kind_of(type(event)))
    finally:
        log.close()


def _not_now(run: Run, participle: str, state: str) -> ApiError:
    return ApiError(
        409,
        "invalid_job_state",
        f"{job_id(run)} is {state}: it cannot be {participle}.",
        "fine_tune_id",
    )
