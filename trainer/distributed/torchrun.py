"""The worker of a run on several GPUs: it launches the ranks by torchrun's own agent, waits for
them, and repairs what they ran out of.

All ranks of an attempt live and die together, as torchrun has it: when one fails, its agent ends
the others, and the run goes on from its newest checkpoint or not at all. A stop is a file that the
ranks look at after each step, so that all of them stop after the same one.
"""

from __future__ import annotations

import gc
import os
import shutil
import signal
from concurrent.futures import Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any

from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.launcher.api import elastic_launch
from torch.distributed.run import config_from_args, parse_args

from jobs import foreign_json
from jobs.luthier_error import LuthierError
from jobs.worker import WorkerContext
from trainer.distributed import rank
from trainer.launch import frozen_recipe
from trainer.plan import placement, repair
from trainer.plan.compute import Batch
from trainer.plan.plan import Plan

START_METHOD = "spawn"  # a fork of a process that knows CUDA cannot use it
_POLL_SECONDS = 0.1
_PORT = 29500  # torchrun's own


def run(context: WorkerContext, plan: Plan) -> dict[str, Any] | None:
    """The run's result; None if it was stopped first. LuthierError if a rank failed and nothing can
    be repaired."""
    if placement.machines() != plan.machines:
        message = (
            f"{context.job.id} was planned for {plan.machines} machines, but PET_NNODES says"
            f" {placement.machines()}."
        )
        raise LuthierError(
            "The number of machines differs",
            message,
            "docs/scale.md explains how to start the run on each machine.",
        )
    batch: Batch | None = None
    while True:
        # the store of the last agent, which ends its own threads: a rank that is forked now could
        # not
        gc.collect()
        folder = context.directory / rank.FOLDER
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        context.phase(f"starting {plan.gpus} {'rank' if plan.gpus == 1 else 'ranks'}")
        try:
            result = _launched(context, plan, batch)
        except ChildFailedError as error:
            batch = _repaired(context, plan, error, _failures(folder))
            continue
        if result is None and not context.stopping.is_set():
            raise LuthierError(
                "Stopped on another machine",
                "A checkpoint holds the progress so far.",
                "docs/scale.md explains how to resume.",
            )
        return (
            result if result != {} else {"machine": placement.machine(), "machines": plan.machines}
        )


def _launched(context: WorkerContext, plan: Plan, batch: Batch | None) -> dict[str, Any] | None:
    """What the first rank of this machine returned. Raises ChildFailedError."""
    launch = elastic_launch(_config(context, plan), rank.main)
    # torchrun's agent would take the signals for itself on the main thread, and answer them by
    # ending the ranks.
    with ThreadPoolExecutor(1, "torchrun") as pool:
        running: Future[dict[int, Any]] = pool.submit(launch, str(context.directory), batch)
        while not wait([running], _POLL_SECONDS).done:
            if context.stopping.is_set():
                (context.directory / rank.FOLDER / rank.STOP_FILE).touch()
    values = running.result()
    value: dict[str, Any] | None = values[min(values)]
    return value


def _config(context: WorkerContext, plan: Plan) -> Any:
    """torchrun's options; those of several machines it takes from its own variables
    (trainer.plan.placement)."""
    cores = len(os.sched_getaffinity(0))
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, cores // plan.gpus)))
    options = [
        f"--nproc-per-node={plan.gpus}",
        "--max-restarts=0",
        f"--start-method={START_METHOD}",
    ]
    if plan.machines == 1:
        options += [
            "--rdzv-backend=c10d",
            "--rdzv-endpoint=localhost:0",
            f"--rdzv-id={context.job.id}",
            "--local-addr=127.0.0.1",
        ]
    arguments = parse_args([*options, rank.__name__])
    arguments.master_port = arguments.master_port or _PORT
    return config_from_args(arguments)[0]


def _repaired(
    context: WorkerContext, plan: Plan, error: ChildFailedError, failures: list[dict[str, Any]]
) -> Batch:
    """The batch to go on with. LuthierError if it was not memory that a rank lacked."""
    lacking = next((left for left in failures if left["kind"] == "out_of_memory"), None)
    if lacking is None:
        raise _reason(error, failures)
    recipe = frozen_recipe(context.job)
    reason = f"rank {lacking['rank']}: {lacking['reason']}"
    ran_out = plan.with_batch(lacking["batch"]).compute
    batch = lacking["smaller"]
    smaller = repair.repaired(
        context,
        plan.shape(recipe),
        lacking["step"],
        reason,
        ran_out,
        None if batch is None else plan.with_batch(batch).compute,
    )
    if plan.machines > 1:  # the other machines' launchers have only seen their ranks end
        message = (
            f"Memory ran out on {reason}. The next attempt starts with a micro-batch of"
            f" {smaller.micro_batch}."
        )
        raise LuthierError(
            "Out of memory", message, "Start it again on every machine, as docs/scale.md says."
        )
    return smaller.batch


def _failures(folder: Path) -> list[dict[str, Any]]:
    """What ranks have left of their reasons, in the order of their numbers."""
    failures = [
        foreign_json.read_object(path, lenient=True) for path in folder.glob("failure-*.json")
    ]
    return sorted(failures, key=lambda failure: int(failure["rank"]))


def _reason(error: ChildFailedError, failures: list[dict[str, Any]]) -> LuthierError:
    """Of a rank that was killed, else what a rank has said: in words rather than by accident."""
    number, failure = error.get_first_failure()
    hint = "`luthier log` has the details; `luthier resume` continues from the newest checkpoint."
    if failure.exitcode < 0:
        name = signal.Signals(-failure.exitcode).name
        why = (
            " The kernel does that when the machine runs out of memory."
            if name == "SIGKILL"
            else ""
        )
        return LuthierError(
            f"Rank {number} was killed",
            f"{name} ended it, and Luthier stopped the other ranks.{why}",
            hint,
        )
    for kind in ("error", "unexpected"):
        for left in failures:
            if left["kind"] == kind:
                where = f" (rank {left['rank']})" if left["rank"] else ""
                return LuthierError(left["title"], left["message"] + where, left["hint"])
    return LuthierError(
        f"Rank {number} failed",
        f"It ended with status {failure.exitcode}, and Luthier stopped the other ranks.",
        hint,
    )
