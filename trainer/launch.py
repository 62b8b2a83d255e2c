"""Start a run."""

from __future__ import annotations

import shutil
from pathlib import Path

from jobs.errors import LuthierError
from jobs.files import write_atomic
from jobs.job import Job, create, start
from jobs.spec import Spec
from models import certificate
from trainer.plan import make_plan
from trainer.recipe import Recipe, load, to_toml

RECIPE_FILE = "recipe.toml"
ADAPTER_FOLDER = "adapter"


def train(recipe: Recipe) -> Job:
    """Plan the run, freeze its recipe into a new job folder and start its supervisor. Everything that can be checked is, first."""
    plan = make_plan(recipe)
    order = certificate.order(recipe.name, "{job}", plan.model, Path(plan.model_directory), plan.slots)
    then = [order] if recipe.certify else []
    spec = Spec("run", recipe.name, "trainer.worker", settings=plan.to_json(), slots=plan.slots, then=then, grace_seconds=120.0)
    job = create(spec)
    try:
        write_atomic(job.directory / RECIPE_FILE, to_toml(recipe))
        start(job)
    except BaseException:
        shutil.rmtree(job.directory, ignore_errors=True)
        raise
    return job


def frozen_recipe(job: Job) -> Recipe:
    """The recipe a run was started with, every value written out."""
    return load(job.directory / RECIPE_FILE)


def adapter_directory(job: Job) -> Path:
    """The adapter that a run left. LuthierError if it has none."""
    directory = job.directory / ADAPTER_FOLDER
    if not (directory / "adapter_config.json").is_file():
        raise LuthierError("No adapter yet", f"{job.id} has left none.", f"`luthier runs` tells its state, `luthier log {job.id}` why.")
    return directory
