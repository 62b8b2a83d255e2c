"""The training worker: `python -P -m trainer.worker JOB_DIRECTORY`."""

from __future__ import annotations

import shutil
import time
from typing import TYPE_CHECKING, Any

from jobs.files import write_json
from jobs.worker import WorkerContext, run_worker
from models import provenance
from models.registry import resolve
from trainer.launch import ADAPTER_FOLDER, frozen_recipe
from trainer.plan import Plan

if TYPE_CHECKING:
    from peft import PeftModel


def main(context: WorkerContext) -> dict[str, Any] | None:
    """Prepare the data, train, save the adapter. None if it was stopped first: then a checkpoint holds what there is."""
    plan, recipe = Plan(**context.settings), frozen_recipe(context.job)
    context.event("plan", **plan.to_json())
    context.phase("loading the libraries", seconds_left=9)
    from models.preflight import check_template
    from models.template import load_tokenizer
    from trainer.checkpoints import CheckpointCallback
    from trainer.data.pipeline import Cancelled, prepare
    from trainer.telling import EventCallback
    from trainer.trl_engine import build_trainer, load_model

    context.phase("preparing the data", seconds_left=3)
    directory = resolve(plan.model_directory)
    provenance.record_base(context.directory, directory)
    tokenizer = load_tokenizer(directory)
    report = check_template(tokenizer, directory)
    context.event("template", **report.to_json())
    try:
        telling_data = _DataProgress(context)
        prepared = prepare(recipe.data_settings, tokenizer, report, context.directory / "data", telling_data, context.stopping.is_set)
    except Cancelled:
        return None
    context.event("data", **prepared.summary, cached=prepared.cached)
    if context.stopping.is_set():
        return None

    context.phase("loading the model", seconds_left=2)
    model = load_model(plan, recipe)
    telling = EventCallback(context)
    callbacks = [telling, CheckpointCallback(context)]
    trainer = build_trainer(plan, recipe, model, tokenizer, prepared, context.directory, callbacks)
    context.phase("training")
    started = time.monotonic()
    trainer.train()
    seconds = time.monotonic() - started
    if trainer.state.global_step < trainer.state.max_steps:
        return None
    context.phase("saving the adapter")
    _save_adapter(context, model, plan)
    provenance.record_adapter(context.directory, context.directory / ADAPTER_FOLDER)
    return {
        "adapter": str(context.directory / ADAPTER_FOLDER),
        "steps": trainer.state.global_step,
        "loss": telling.loss,
        "eval_loss": telling.eval_loss,
        "seconds": round(seconds, 1),
    }


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


def _save_adapter(context: WorkerContext, model: PeftModel, plan: Plan) -> None:
    """In PEFT's layout, under another name until it is whole."""
    target = context.directory / ADAPTER_FOLDER
    partial = target.with_name(f".{ADAPTER_FOLDER}")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        model.save_pretrained(str(partial), safe_serialization=True)
        write_json(partial / "card.json", {"run": context.job.id, "base": plan.model, "base_directory": plan.model_directory})
        partial.rename(target)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)  # room for the event that says why
        raise


if __name__ == "__main__":
    run_worker(main)
