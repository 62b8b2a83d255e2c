"""A run as OpenAI's fine-tuning job. What was read is kept, and read again only where the run's
folder says something new: many programs may ask many times."""

from __future__ import annotations

import time
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Any, assert_never

from jobs.files import encoded
from jobs.foreign_json import Damaged
from jobs.luthier_error import LuthierError
from jobs.state import (
    Asleep,
    Done,
    Failed,
    Lost,
    Queued,
    Running,
    Starting,
    State,
    Stopped,
    Stopping,
)
from models.runs import Run
from trainer.launch import frozen_recipe
from trainer.recipe import Recipe
from workshop.api.names import ORGANISATION, job_id, model_name
from workshop.api.order import DEFAULTS, Order, order_of
from workshop.api.run_log import RunLog

_KEPT = 256
_TRUSTED_SECONDS = 0.5
"""How long an answer holds for a run whose events have not grown: only its supervisor can have died
meanwhile."""
RESULTS_PREFIX = "file-results-"

Stamp = tuple[int, int]


@dataclass
class RunView:
    """A run with what has been read of it."""

    run: Run
    log: RunLog
    state: State
    stamp: Stamp
    looked: float
    order: Order | None
    recipe: Recipe
    _body: bytes | None = field(default=None)

    @property
    def status(self) -> str:
        """In OpenAI's words, and "paused"."""
        match self.state:
            case Queued():
                return "queued"
            case Starting():
                return "running" if self.log.has_data else "validating_files"
            case Running() | Asleep():
                return "running"
            case Stopping() if self.log.is_pausing:
                return "running"  # it can go on once its checkpoint is saved
            case Stopping() | Stopped():
                return "paused" if self.log.is_pausing else "cancelled"
            case Done():
                return "succeeded"
            case Failed() | Lost():
                return "failed"
        assert_never(self.state)

    @property
    def body(self) -> bytes:
        """As JSON. It is made once for each look."""
        if self._body is None:
            self._body = encoded(self.to_json())
        return self._body

    def to_json(self) -> dict[str, Any]:
        status, order = self.status, self.order
        succeeded = status == "succeeded"
        hyperparameters = self._hyperparameters()
        return {
            "object": "fine_tuning.job",
            "id": job_id(self.run),
            "created_at": int(self.run.job.created),
            "error": self._error(),
            "estimated_finish": self._estimated_finish(),
            "fine_tuned_model": model_name(self.run) if succeeded else None,
            "finished_at": self._finished_at(),
            "hyperparameters": hyperparameters,
            "method": self._method(hyperparameters),
            "model": self.run.base_name,
            "organization_id": ORGANISATION,
            "result_files": [f"{RESULTS_PREFIX}{self.run.id}"] if succeeded else [],
            "seed": self.recipe.train.seed,
            "status": status,
            "trained_tokens": self.log.tokens if succeeded else None,
            "training_file": self.recipe.sources[0].path if order is None else order.training_file,
            "validation_file": _first(self.recipe.heldout.files)
            if order is None
            else order.validation_file,
            "integrations": self._integrations(),
            "metadata": {} if order is None else order.metadata,
            "suffix": None if order is None else order.suffix,
        }

    def _hyperparameters(self) -> dict[str, float | str]:
        """As the run has them: what was "auto", too, but for the multiplier, which only a program
        knows."""
        train, order = self.recipe.train, self.order
        multiplier = "auto" if order is None else order.hyperparameters.learning_rate_multiplier
        return {
            "n_epochs": int(train.epochs) if train.epochs == int(train.epochs) else train.epochs,
            "batch_size": train.global_batch,
            "learning_rate_multiplier": multiplier,
        }

    def _method(self, hyperparameters: dict[str, float | str]) -> dict[str, Any]:
        """As OpenAI names it, where OpenAI has it; the app's other objectives by their own
        names."""
        objective = self.recipe.objective
        if objective.kind == "sft":
            return {"type": "supervised", "supervised": {"hyperparameters": hyperparameters}}
        settings = {"hyperparameters": {**hyperparameters, "beta": objective.beta}}
        return {"type": objective.kind, objective.kind: settings}

    def _error(self) -> dict[str, Any] | None:
        state = self.state
        if isinstance(state, Lost):
            message = (
                "The run's supervisor has gone: the machine rebooted, or somebody killed it. POST"
                f" /v1/fine_tuning/jobs/{job_id(self.run)}/resume continues from the last"
                " checkpoint."
            )
            return {"code": "lost", "message": message, "param": None}
        if not isinstance(state, Failed):
            return None
        text = " ".join(part for part in (f"{state.title}:", state.message, state.hint) if part)
        if self.log.has_data or self.log.began_training:
            return {"code": "training_failed", "message": text, "param": None}
        return {"code": "invalid_training_file", "message": text, "param": "training_file"}

    def _finished_at(self) -> int | None:
        state = self.state
        ended = isinstance(state, Done | Failed | Lost) or (
            isinstance(state, Stopped) and not self.log.is_pausing
        )
        if not ended or isinstance(state, Queued | Starting | Running | Asleep | Stopping):
            return None
        return int(state.at)

    def _estimated_finish(self) -> int | None:
        if not isinstance(self.state, Running):
            return None
        seconds = self.log.seconds_left
        return None if seconds is None else int(time.time() + seconds)

    def _integrations(self) -> list[dict[str, Any]]:
        trackers = self.recipe.trackers
        if "wandb" not in trackers.report_to:
            return []
        settings: dict[str, Any] = {
            "project": trackers.project,
            "name": self.run.id,
            "entity": None,
            "tags": [],
        }
        return [{"type": "wandb", "wandb": settings}]


class Views:
    """The runs that were asked for last. For one thread at a time: the event loop's."""

    def __init__(self) -> None:
        self._views: OrderedDict[str, RunView] = OrderedDict()

    def fresh(self, run_id: str) -> RunView | None:
        """The view of a run, if nothing new can have come since it was made: what costs no more
        than a look at a file's size."""
        view = self._views.get(run_id)
        if view is None or time.monotonic() - view.looked > _TRUSTED_SECONDS:
            return None
        return view if _stamp(view.run) == view.stamp else None

    def view(self, run: Run) -> RunView:
        """Read what is new of a run."""
        stamp, looked = _stamp(run), time.monotonic()
        state = run.job.state()
        view = self._views.get(run.id)
        if view is None or view.log.run.job.created != run.job.created:
            order = order_of(run.fine_tuning)
            view = RunView(run, RunLog(run), state, (-1, -1), 0.0, order, recipe_of_run(run))
        if isinstance(state, Queued):  # its recipe may be edited
            view.recipe, view._body = recipe_of_run(run), None
        if view.stamp != stamp or view.state != state:
            view.log.read()
            view.state, view.stamp, view._body = state, stamp, None
        view.looked = looked
        self._views[run.id] = view
        self._views.move_to_end(run.id)
        while len(self._views) > _KEPT:
            self._views.popitem(last=False)
        return view


def recipe_of_run(run: Run) -> Recipe:
    """The frozen recipe; the defaults where it is gone or damaged."""
    try:
        return frozen_recipe(run.job)
    except (LuthierError, Damaged, OSError):
        return DEFAULTS


def _first(files: list[str]) -> str | None:
    return files[0] if files else None


def _stamp(run: Run) -> Stamp:
    try:
        status = run.job.events_path.stat()
    except OSError:
        return -1, -1
    return status.st_size, status.st_mtime_ns
