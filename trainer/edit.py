"""Edit the recipe of a run that waits in the queue."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import msgspec

from jobs import queue
from jobs.job import Job
from models.run_folder import RECIPE_FILE
from models.runs import Run
from trainer.launch import freeze, run_spec
from trainer.recipe import Recipe, load


@contextmanager
def draft(job: Job) -> Iterator[Path]:
    """A copy of the run's recipe to write in, beside it, so that its paths mean the same. It goes
    at the end."""
    descriptor, name = tempfile.mkstemp(prefix="recipe-", suffix=".toml", dir=job.directory)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write((job.directory / RECIPE_FILE).read_text(encoding="utf-8"))
    try:
        yield Path(name)
    finally:
        Path(name).unlink(missing_ok=True)


def replace_recipe(job: Job, path: Path) -> None:
    """Have a waiting run follow the recipe at `path`. It is read and planned first, like that of a
    new run; the place in the queue stays.

    LuthierError if the recipe is wrong, or if the run has started meanwhile: then nothing has
    changed.
    """
    recipe = load(path)
    spec = run_spec(recipe, _bond(job, recipe))
    spec.settings.update(Run(job).made_by_program)
    with queue.kept_waiting(job):
        freeze(job, recipe, spec)
        spec.replace(job.directory)


def _bond(job: Job, recipe: Recipe) -> dict[str, Any]:
    """What binds the run to the others of its sweep (trainer.sweep), with the values that it has
    now."""
    membership = Run(job).sweep
    if membership is None:
        return {}
    values = msgspec.to_builtins(recipe)
    return {**asdict(membership), "varies": {key: _at(key, values) for key in membership.varies}}


def _at(key: str, values: Any) -> Any:
    """The value at "train.learning_rate" or "data[0].weight"; None if it is gone."""
    for part in key.replace("[", ".").replace("]", "").split("."):
        try:
            values = values[int(part)] if isinstance(values, list) else values[part]
        except (LookupError, TypeError):
            return None
    return values
