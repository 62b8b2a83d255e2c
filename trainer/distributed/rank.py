"""One rank of a run on several GPUs: trainer.distributed.torchrun starts one for each. Only torch
is imported at the top, for Unsloth comes second."""

from __future__ import annotations

import json
import multiprocessing.util
import os
import signal
import sys
import threading
import time
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from jobs import processes
from jobs.failure_reason import of_exception
from jobs.job import Job
from jobs.luthier_error import LuthierError
from jobs.worker import WorkerContext
from models import events
from models.registry import resolve
from trainer import worker
from trainer.distributed import machines, ranks
from trainer.launch import frozen_recipe
from trainer.plan.compute import Batch
from trainer.plan.plan import Plan
from trainer.plan.repair import OutOfMemory
from trainer.recipe import Recipe
from trainer.run.tokens_and_template import run_tokenizer

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from models.preflight import TemplateReport
    from trainer.data.pipeline import Prepared

FOLDER = ".ranks"
STOP_FILE = "stop"
_PEERS_FIRST_SECONDS = 1.5


class StopFile(threading.Event):
    """Set once the launcher has written the file. A signal cannot tell it: SIGTERM is how torchrun
    ends ranks that have lost a peer."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._path = path

    def is_set(self) -> bool:
        return self._path.exists()


class RankContext(WorkerContext):
    """The job as a rank sees it: only the first one tells of it."""

    def __init__(self, job: Job) -> None:
        super().__init__(job)
        self.stopping = StopFile(job.directory / FOLDER / STOP_FILE)

    def event(self, kind: str, **fields: Any) -> None:
        if ranks.first():
            super().event(kind, **fields)


def main(directory: str, batch: Batch | None) -> dict[str, Any] | None:
    """The rank's part of the run, with another batch than the plan's if that was repaired. What the
    first rank returns is the result; None means that it was stopped before it had one."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    processes.end_with_parent()
    multiprocessing.util.Finalize(None, _leave, exitpriority=100)
    context = RankContext(Job(Path(directory)))
    plan = Plan.from_json(context.settings)
    try:
        ranks.join(plan.device)
        return work(context, plan, batch)
    except OutOfMemory as error:
        _fail(context, {"kind": "out_of_memory", **error.to_json()})
    except LuthierError as error:
        _fail(context, {"kind": "error", **error.to_json()})
    except Exception as error:  # noqa: BLE001 - the last line of defence: the launcher makes it the job's error
        traceback.print_exc()
        # When a peer dies, its connection breaks here: the launcher is to see the peer's end first.
        time.sleep(_PEERS_FIRST_SECONDS)
        _fail(context, {"kind": "unexpected", **of_exception(error, context.directory).to_json()})


def work(context: WorkerContext, plan: Plan, batch: Batch | None) -> dict[str, Any] | None:
    """The steps of trainer.worker.work, which every rank takes. What is written the first rank
    writes, or the first one of each machine, while the others wait; all but the first one return
    nothing that matters."""
    recipe = frozen_recipe(context.job)
    context.phase("loading the libraries", seconds_left=9)
    if plan.machines > 1:
        plan = machines.agreed(plan)
    engine = worker.load_engine(plan)
    base = resolve(plan.model_directory)
    checkpoint = ranks.from_first(
        worker.newest_checkpoint(context, recipe, base) if ranks.first() else None
    )
    if checkpoint is not None and plan.machines > 1:
        checkpoint = machines.on_each(checkpoint, context.directory)
    ranks.share_threads()
    if plan.device == "cpu":
        plan = ranks.from_first(
            worker.with_compute_dtype(context, plan, recipe, base) if ranks.first() else plan
        )
    context.phase("preparing the data", seconds_left=3)
    if ranks.local() == 0:
        run_tokenizer(context.directory, base, recipe.tokens)
    ranks.gathered(None)
    tokenizer = run_tokenizer(context.directory, base, recipe.tokens)
    template = worker.proved_template(context, recipe, tokenizer, base)
    prepared = _prepared_data(context, recipe, tokenizer, template, going_on=checkpoint is not None)
    if prepared is None:
        return None
    if plan.machines > 1:
        machines.check_alike([prepared.train, prepared.heldout])
    events.tell_more(context, events.Data, {**prepared.summary, "cached": prepared.cached})
    if checkpoint is None and ranks.first():
        worker.begin(context, plan, recipe, base)
    if ranks.any_of(context.stopping.is_set()):
        return None
    training = worker.training_of(context, engine, plan, recipe, tokenizer, template, prepared)
    if not training.run(checkpoint, batch):
        return None
    if not ranks.first():
        return {}
    return worker.save_result(context, plan, recipe, training, template)


def _prepared_data(
    context: WorkerContext,
    recipe: Recipe,
    tokenizer: PreTrainedTokenizerBase,
    template: TemplateReport,
    *,
    going_on: bool,
) -> Prepared | None:
    """One rank of each machine prepares the samples, and the others read them."""
    prepared = None
    is_preparer = ranks.local() == 0
    if is_preparer:
        prepared = worker.prepared_data(context, recipe, tokenizer, template, going_on=going_on)
    if ranks.any_of(is_preparer and prepared is None):
        return None
    return prepared or worker.prepared_data(context, recipe, tokenizer, template, going_on=True)


def _fail(context: RankContext, failure: dict[str, Any]) -> NoReturn:
    """Leave the reason for the launcher, and end."""
    number = int(os.environ["RANK"])
    try:
        path = context.directory / FOLDER / f"failure-{number}.json"
        path.write_text(json.dumps({"rank": number, **failure}), encoding="utf-8")
    finally:
        sys.stderr.flush()
        os._exit(1)


def _leave() -> None:
    """End without the interpreter's farewell, as jobs.worker does."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)
