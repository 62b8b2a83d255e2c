"""The training worker: `python -P -m trainer.worker JOB_DIRECTORY`.

`work` is the whole run in one process. The ranks of a run on several GPUs take the same steps, with
each other between them (trainer.distributed.rank).
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jobs import foreign_json
from jobs.worker import WorkerContext, run_worker
from models import events, provenance
from models.builtin_worker import PREPARING, prepare
from models.registry import is_unprepared_builtin, resolve
from models.run_folder import RunFolder
from trainer import first_adapter, resume
from trainer.launch import frozen_recipe
from trainer.plan import compute_dtype
from trainer.plan.plan import Plan
from trainer.recipe import Recipe, Tokens
from trainer.run.checkpoints import Checkpoint, newest_intact, sweep
from trainer.run.result import save_adapter, save_model
from trainer.run.tokens_and_template import run_tokenizer

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from models.preflight import TemplateReport
    from trainer.data.pipeline import Prepared
    from trainer.run.training import Engine, Training


def main(context: WorkerContext) -> dict[str, Any] | None:
    """The run, in this process or in the ranks that the plan says. None if it was stopped first:
    then a checkpoint holds what there is."""
    plan = Plan.from_json(context.settings)
    events.tell_more(context, events.Plan, plan.to_json())
    if is_unprepared_builtin(plan.model_directory):
        if not prepare(context, PREPARING) or context.stopping.is_set():
            return None
        # again from the top: Unsloth wants to be imported first, and memory counts from nothing
        os.execv(sys.executable, sys.orig_argv)
    if plan.ranks == 1:
        return work(context, plan)
    from trainer.distributed import torchrun

    return torchrun.run(context, plan)


def work(context: WorkerContext, plan: Plan) -> dict[str, Any] | None:
    """Prepare the data, train, save what it has made; go on where an earlier attempt stopped."""
    recipe = frozen_recipe(context.job)
    context.phase("loading the libraries", seconds_left=9)
    engine = load_engine(plan)
    base = resolve(plan.model_directory)
    checkpoint = newest_checkpoint(context, recipe, base)
    if plan.device == "cpu":
        plan = with_compute_dtype(context, plan, recipe, base)
    context.phase("preparing the data", seconds_left=3)
    tokenizer = run_tokenizer(context.directory, base, recipe.tokens)
    template = proved_template(context, recipe, tokenizer, base)
    prepared = prepared_data(context, recipe, tokenizer, template, going_on=checkpoint is not None)
    if prepared is None:
        return None
    events.tell_more(context, events.Data, {**prepared.summary, "cached": prepared.cached})
    if checkpoint is None:
        begin(context, plan, recipe, base)
    if context.stopping.is_set():
        return None
    training = training_of(context, engine, plan, recipe, tokenizer, template, prepared)
    if not training.run(checkpoint):
        return None
    return save_result(context, plan, recipe, training, template)


# ---- the steps of a run


def load_engine(plan: Plan) -> Engine:
    """Unsloth wants to be imported before anything else that is heavy."""
    if plan.engine == "unsloth":
        from trainer.run import unsloth_engine

        return unsloth_engine
    from trainer.run import trl_engine

    return trl_engine


def newest_checkpoint(
    context: WorkerContext, recipe: Recipe, model_directory: Path
) -> Checkpoint | None:
    """What to go on from; what an interrupted save has left is gone then. LuthierError if something
    that matters has changed since the run began, and nobody insists."""
    sweep(context.directory)
    checkpoint = newest_intact(context.directory)
    if checkpoint is not None:
        _go_on(context, recipe, model_directory, checkpoint)
    return checkpoint


def with_compute_dtype(
    context: WorkerContext, plan: Plan, recipe: Recipe, model_directory: Path
) -> Plan:
    """The plan with the number type that this CPU computes in; a run that has begun before keeps
    its own."""
    from models.product_speed import known_or_measured

    settled = plan
    if resume.begun(context.directory):
        settled = compute_dtype.resumed(
            plan, recipe, _recorded_dtype(resume.recorded(context.directory))
        )
    elif plan.compute.compute_dtype == compute_dtype.OPEN:
        context.phase("measuring the CPU", seconds_left=2)
        settled = compute_dtype.settled(plan, recipe, known_or_measured(model_directory))
    if settled != plan:
        events.tell_more(context, events.Plan, settled.to_json())
    return settled


def proved_template(
    context: WorkerContext,
    recipe: Recipe,
    tokenizer: PreTrainedTokenizerBase,
    model_directory: Path,
) -> TemplateReport:
    """What the chat template does, as far as the loss mask must know it."""
    from models.preflight import check_template

    report = check_template(tokenizer, model_directory, grows=recipe.tokens != Tokens())
    events.tell_more(context, events.Template, report.to_json())
    return report


def prepared_data(
    context: WorkerContext,
    recipe: Recipe,
    tokenizer: PreTrainedTokenizerBase,
    template: TemplateReport,
    *,
    going_on: bool,
) -> Prepared | None:
    """The run's samples; a run that goes on keeps those it has. None if a stop came meanwhile."""
    from trainer.data.pipeline import SUMMARY_FILE, Cancelled, Prepared, prepare

    run = RunFolder(context.directory)
    folder, summary = run.data, run.data / SUMMARY_FILE
    train, heldout, ledger = run.train_samples, run.heldout_samples, run.ledger
    if going_on and all(path.is_file() for path in (train, heldout, ledger, summary)):
        return Prepared(train, heldout, ledger, foreign_json.read_object(summary), cached=True)
    try:
        return prepare(
            recipe.data_settings,
            tokenizer,
            template,
            folder,
            _DataProgress(context),
            context.stopping.is_set,
        )
    except Cancelled:
        return None


def begin(context: WorkerContext, plan: Plan, recipe: Recipe, model_directory: Path) -> None:
    """Write down what the run depends on. An earlier attempt that left no checkpoint is begun
    again."""
    if resume.begun(context.directory):
        events.tell(context, events.Resumed(step=0))
    fingerprint = resume.fingerprint(context.directory, recipe, model_directory)
    dtype = plan.compute.compute_dtype
    _record(context, {**fingerprint, "compute_dtype": dtype}, model_directory)


def training_of(
    context: WorkerContext,
    engine: Engine,
    plan: Plan,
    recipe: Recipe,
    tokenizer: PreTrainedTokenizerBase,
    template: TemplateReport,
    prepared: Prepared,
) -> Training:
    from trainer.evaluation.evaluator import Questions
    from trainer.run.training import Training

    heldout = prepared.heldout if prepared.summary["heldout"] else None
    questions = Questions(recipe.evaluation, tokenizer, template, heldout)
    recipe = first_adapter.copied(context.directory, recipe)
    return Training(context, engine, plan, recipe, tokenizer, prepared, questions)


def save_result(
    context: WorkerContext,
    plan: Plan,
    recipe: Recipe,
    training: Training,
    template: TemplateReport,
) -> dict[str, Any]:
    """Make the adapter or the model of the checkpoint that the recipe wants, and say so."""
    checkpoint, which = training.result()
    kind = "model" if recipe.train.method == "full" else "adapter"
    context.phase(f"saving the {kind}")
    save = save_model if kind == "model" else save_adapter
    folder = save(context.job, plan, checkpoint, which, template.stop_ids)
    provenance.record_result(context.directory, folder)
    return {
        kind: str(folder),
        "from_step": checkpoint.step,
        "which": which,
        **training.figures(),
    }


def _record(context: WorkerContext, fingerprint: dict[str, Any], model_directory: Path) -> None:
    import torch

    provenance.record_base(context.directory, model_directory)
    resume.write(context.directory, {**fingerprint, "threads": torch.get_num_threads()})


def _recorded_dtype(fingerprint: dict[str, Any]) -> str:
    return str(fingerprint.get("compute_dtype", compute_dtype.BEFORE_IT_WAS_CHOSEN))


def _go_on(
    context: WorkerContext, recipe: Recipe, model_directory: Path, checkpoint: Checkpoint
) -> None:
    """Compare with what the run began with. LuthierError if that has changed and nobody insists."""
    import torch

    before = resume.recorded(context.directory)
    now = resume.fingerprint(context.directory, recipe, model_directory)
    resume.check_possible(context.job.id, before, now)
    changed = resume.differences(before, now)
    if changed and not resume.is_forced(context.directory):
        raise resume.refusal(context.job.id, changed)
    threads = min(before["threads"], len(os.sched_getaffinity(0)))
    # the order of a sum's terms, and with it its last bit, hangs on their number
    torch.set_num_threads(threads)
    if changed:
        _record(context, {**now, "compute_dtype": _recorded_dtype(before)}, model_directory)
    resumed = events.Resumed(
        step=checkpoint.step,
        checkpoint=str(checkpoint.path),
        forced=bool(changed),
        differences=changed,
    )
    events.tell(context, resumed)


class _DataProgress:
    """Tells of the preparation of much data, every two seconds."""

    def __init__(self, context: WorkerContext) -> None:
        self._context = context
        self._told = time.monotonic()

    def __call__(self, activity: str, done: int, total: int) -> None:
        if time.monotonic() - self._told >= 2.0:
            self._told = time.monotonic()
            share = f", {done / total:.0%}" if total else ""
            self._context.phase(f"preparing the data: {activity}{share}", done=done, total=total)


if __name__ == "__main__":
    run_worker(main)
