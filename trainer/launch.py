"""Start a run, and have an interrupted one go on."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Any

import msgspec

from jobs.files import write_atomic
from jobs.job import Job, create, start
from jobs.luthier_error import LuthierError
from jobs.spec import Spec
from jobs.state import Alive, Done, word
from models import certificate, registry, regression_guard
from models.installation import check_libraries
from models.run_folder import RECIPE_FILE
from models.runs import Run
from trainer import first_adapter, teacher
from trainer.data.inspection import check_as_seen
from trainer.plan.placement import machine
from trainer.plan.plan import Plan, make_plan
from trainer.recipe import Recipe, load, to_toml
from trainer.resume import begun, check_possible, differences, fingerprint, order, recorded, refusal
from trainer.run.checkpoints import complete_checkpoints


def train(recipe: Recipe, plan: Plan | None = None) -> Job:
    """Plan the run, unless its plan is here already, freeze its recipe into a new job folder and
    start its supervisor. Everything that can be checked is, first."""
    return submit_run(recipe, planned_spec(recipe, plan or make_plan(recipe)))


def submit_run(recipe: Recipe, spec: Spec) -> Job:
    """Freeze the recipe into a new job folder and start the job's supervisor."""
    job = create(spec)
    try:
        freeze(job, recipe, spec)
        start(job)
    except BaseException:
        shutil.rmtree(job.directory, ignore_errors=True)
        raise
    return job


def freeze(job: Job, recipe: Recipe, spec: Spec) -> None:
    """Write the recipe into the job's folder with every value written out, also the learning rate
    that its plan has chosen, and why."""
    plan = Plan.from_json(spec.settings)
    recipe = teacher.settled(first_adapter.settled(recipe))
    guard = recipe.guard.settled(recipe.model)
    why = [f"# {reason.text}\n" for reason in plan.reasons if reason.key == "train.learning_rate"]
    train = msgspec.structs.replace(recipe.train, learning_rate=plan.learning_rate)
    write_atomic(
        job.directory / RECIPE_FILE,
        "".join(why) + to_toml(msgspec.structs.replace(recipe, train=train, guard=guard)),
    )


def resume(job: Job, force: bool = False) -> Job:
    """Have an interrupted run go on from its newest checkpoint, exactly as if nothing had been;
    without one it begins again.

    LuthierError if it runs, if it is done, or if something that matters has changed (with `force`
    it goes on, and records that).
    """
    state = job.state()
    if job.spec.kind != "run":
        raise LuthierError(
            "Not a run",
            f"{job.id} is a job of the kind {job.spec.kind}; only training runs can be resumed.",
            "`luthier runs` lists the runs.",
        )
    if isinstance(state, Alive):
        raise LuthierError(
            "Already running",
            f"{job.id} is {word(state)}.",
            f"`luthier log -f {job.id}` follows it.",
        )
    if isinstance(state, Done):
        hint = (
            f"`luthier serve {job.id}` serves its result; `luthier train --again {job.id}`"
            " repeats the training."
        )
        raise LuthierError("Nothing left to do", f"{job.id} is done.", hint)
    recipe = frozen_recipe(job)
    here = Path(job.spec.python).resolve() == Path(sys.executable).resolve()
    if here:
        check_libraries("train")
    if begun(job.directory) and complete_checkpoints(job.directory):
        directory = registry.resolve(str(Run(job).base))
        # elsewhere the worker compares its own libraries
        before = recorded(job.directory)
        now = fingerprint(job.directory, recipe, directory, None if here else before["versions"])
        check_possible(job.id, before, now)
        changed = differences(before, now)
        if changed and not force:
            raise refusal(job.id, changed)
    order(job.directory, forced=force)
    start(job)
    return job


def run_spec(recipe: Recipe, sweep: dict[str, Any] | None = None) -> Spec:
    """Plan the run: the orders of its job; `sweep` binds it to others (trainer.sweep). LuthierError
    at the first thing that is wrong."""
    return planned_spec(recipe, make_plan(recipe), sweep)


def planned_spec(recipe: Recipe, plan: Plan, sweep: dict[str, Any] | None = None) -> Spec:
    """The orders of a run's job. The certificate is made on one GPU, where the result is; a guard
    waits for it."""
    check_libraries("train")
    check_as_seen(recipe)
    certified = recipe.certify and machine() == 0
    then = (
        [
            certificate.order(
                recipe.name,
                "{job}",
                plan.model,
                Path(plan.model_directory),
                plan.slots[:1],
                keeps_server=plan.device == "gpu",
            )
        ]
        if certified
        else []
    )
    if recipe.guard.after_run and machine() == 0:
        settings = recipe.guard.settled(plan.model).settings
        then.append(regression_guard.order(recipe.name, "{job}", plan.model, settings))
    return Spec(
        kind="run",
        name=recipe.name,
        module="trainer.worker",
        settings={**plan.to_json(), "sweep": sweep or {}},
        slots=plan.slots,
        gpu_bytes=plan.gpu_bytes,
        share_gpu=recipe.share_gpu,
        preempts="asks",
        before_resting=True,
        then=then,
        grace_seconds=120.0,
    )


def frozen_recipe(job: Job) -> Recipe:
    """The recipe a run was started with, every value written out."""
    return load(job.directory / RECIPE_FILE)
