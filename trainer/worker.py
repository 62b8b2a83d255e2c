"""The training worker: `python -P -m trainer.worker JOB_DIRECTORY`."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jobs import foreign_json
from jobs.worker import WorkerContext, run_worker
from models import events, provenance
from models.registry import resolve
from models.run_folder import RunFolder
from trainer import resume
from trainer.launch import frozen_recipe
from trainer.plan import compute_dtype
from trainer.plan.plan import Plan
from trainer.plan.repair import Batch
from trainer.recipe import Recipe, Tokens
from trainer.run.checkpoints import Checkpoint, newest_intact, sweep
from trainer.run.result import save_adapter, save_model
from trainer.run.tokens import run_tokenizer

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from models.preflight import TemplateReport
    from trainer.data.pipeline import Prepared
    from trainer.run.training import Engine


def main(context: WorkerContext) -> dict[str, Any] | None:
    """The run, in this process or in the ranks that the plan says. None if it was stopped first:
    then a checkpoint holds what there is."""
    plan = Plan(**context.settings)
    events.tell_more(context, events.Plan, plan.to_json())
    if plan.ranks == 1:
        return work(context, plan)
    from trainer.distributed import torchrun

    return torchrun.run(context, plan)


def work(context: WorkerContext, plan: Plan, batch: Batch | None = None) -> dict[str, Any] | None:
    """Prepare the data, train, save what it has made; go on where an earlier attempt stopped, with
    another batch if one is given. Each rank comes here; all but the first one return nothing that
    matters, and tell nothing."""
    recipe = frozen_recipe(context.job)
    context.phase("loading the libraries", seconds_left=9)
    from trainer.distributed import machines, ranks

    plan = machines.agreed(plan) if plan.machines > 1 else plan
    engine = _engine(plan)
    from models.preflight import check_template
    from trainer.evaluation.evaluator import Questions
    from trainer.run.training import Training

    directory = resolve(plan.model_directory)
    checkpoint = ranks.from_first(_newest(context, recipe, directory) if ranks.first() else None)
    if checkpoint is not None and plan.machines > 1:
        checkpoint = machines.on_each(checkpoint, context.directory)
    ranks.share_threads()
    plan = _with_compute_dtype(context, plan, recipe, directory)
    context.phase("preparing the data", seconds_left=3)
    if ranks.local() == 0:
        run_tokenizer(context.directory, directory, recipe.tokens)
    ranks.gathered(None)
    tokenizer = run_tokenizer(context.directory, directory, recipe.tokens)
    report = check_template(tokenizer, directory, grows=recipe.tokens != Tokens())
    events.tell_more(context, events.Template, report.to_json())
    prepared = _prepared_by_one(context, recipe, tokenizer, report, going_on=checkpoint is not None)
    if prepared is None:
        return None
    if plan.machines > 1:
        machines.check_alike([prepared.train, prepared.heldout])
    events.tell_more(context, events.Data, {**prepared.summary, "cached": prepared.cached})
    if checkpoint is None and ranks.first():
        _begin(context, plan, recipe, directory)
    if ranks.any_of(context.stopping.is_set()):
        return None

    heldout = prepared.heldout if prepared.summary["heldout"] else None
    questions = Questions(recipe.evaluation, tokenizer, report, heldout)
    training = Training(context, engine, plan, recipe, tokenizer, prepared, questions)
    if not training.run(checkpoint, batch):
        return None
    if not ranks.first():
        return {}
    chosen, which = training.result()
    if recipe.train.method == "full":
        context.phase("saving the model")
        what, folder = "model", save_model(context.job, plan, chosen, which, report.stop_ids)
    else:
        context.phase("saving the adapter")
        what, folder = "adapter", save_adapter(context.job, plan, chosen, which, report.stop_ids)
    provenance.record_result(context.directory, folder)
    return {what: str(folder), "from_step": chosen.step, "which": which, **training.figures()}


def _with_compute_dtype(
    context: WorkerContext, plan: Plan, recipe: Recipe, directory: Path
) -> Plan:
    """The plan with the number type that a CPU computes in; a run that has begun before keeps its
    own."""
    if plan.device != "cpu":
        return plan
    from models.product_speed import known_or_measured
    from trainer.distributed import ranks

    settled = plan
    if ranks.first() and resume.begun(context.directory):
        settled = compute_dtype.resumed(
            plan, recipe, _recorded_dtype(resume.recorded(context.directory))
        )
    elif ranks.first() and plan.compute_dtype == compute_dtype.OPEN:
        context.phase("measuring the CPU", seconds_left=2)
        settled = compute_dtype.settled(plan, recipe, known_or_measured(directory))
    settled = ranks.from_first(settled)
    if settled != plan:
        events.tell_more(context, events.Plan, settled.to_json())
    return settled


def _recorded_dtype(fingerprint: dict[str, Any]) -> str:
    return str(fingerprint.get("compute_dtype", compute_dtype.BEFORE_IT_WAS_CHOSEN))


def _engine(plan: Plan) -> Engine:
    """Unsloth wants to be imported before anything else that is heavy."""
    if plan.engine == "unsloth":
        from trainer.run import unsloth_engine

        return unsloth_engine
    from trainer.run import trl_engine

    return trl_engine


def _newest(context: WorkerContext, recipe: Recipe, model_directory: Path) -> Checkpoint | None:
    """What to go on from; what an interrupted save has left is gone then."""
    sweep(context.directory)
    checkpoint = newest_intact(context.directory)
    if checkpoint is not None:
        _go_on(context, recipe, model_directory, checkpoint)
    return checkpoint


def _begin(context: WorkerContext, plan: Plan, recipe: Recipe, model_directory: Path) -> None:
    """Write down what the run depends on. An earlier attempt that left no checkpoint is begun
    again."""
    if resume.begun(context.directory):
        events.tell(context, events.Resumed(step=0))
    fingerprint = resume.fingerprint(context.directory, recipe, model_directory)
    _record(context, {**fingerprint, "compute_dtype": plan.compute_dtype}, model_directory)


def _record(context: WorkerContext, fingerprint: dict[str, Any], model_directory: Path) -> None:
    import torch

    provenance.record_base(context.directory, model_directory)
    resume.write(context.directory, {**fingerprint, "threads": torch.get_num_threads()})


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


def _prepared_by_one(
    context: WorkerContext,
    recipe: Recipe,
    tokenizer: PreTrainedTokenizerBase,
    report: TemplateReport,
    *,
    going_on: bool,
) -> Prepared | None:
    """The run's samples, which one rank of each machine prepares while the others wait. None if a
    stop came meanwhile."""
    from trainer.data.pipeline import Cancelled
    from trainer.distributed import ranks

    prepared, cancelled = None, False
    if ranks.local() == 0:
        try:
            prepared = _prepared(context, recipe, tokenizer, report, going_on=going_on)
        except Cancelled:
            cancelled = True
    if ranks.any_of(cancelled):
        return None
    return prepared or _prepared(context, recipe, tokenizer, report, going_on=True)


def _prepared(
    context: WorkerContext,
    recipe: Recipe,
    tokenizer: PreTrainedTokenizerBase,
    report: TemplateReport,
    *,
    going_on: bool,
) -> Prepared:
    """The run's samples; a run that goes on keeps those it has. Raises Cancelled."""
    from trainer.data.pipeline import (
        SUMMARY_FILE,
        Prepared,
        prepare,
    )

    run = RunFolder(context.directory)
    folder, summary = run.data, run.data / SUMMARY_FILE
    train, heldout, ledger = run.train_samples, run.heldout_samples, run.ledger
    if going_on and all(path.is_file() for path in (train, heldout, ledger, summary)):
        return Prepared(train, heldout, ledger, foreign_json.read_object(summary), cached=True)
    return prepare(
        recipe.data_settings,
        tokenizer,
        report,
        folder,
        _DataProgress(context),
        context.stopping.is_set,
    )


class _DataProgress:
    """Tells of the preparation of much data, every two seconds."""

    def __init__(self, context: WorkerContext) -> None:
        self._context = context
        self._told = time.monotonic()

    def __call__(self, what: str, done: int, total: int) -> None:
        if time.monotonic() - self._told >= 2.0:
            self._told = time.monotonic()
            share = f", {done / total:.0%}" if total else ""
            self._context.phase(f"preparing the data: {what}{share}", done=done, total=total)


if __name__ == "__main__":
    run_worker(main)
