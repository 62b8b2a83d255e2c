"""The job of a comparison. It lends itself a server, which it stops at the end if it started it."""

from __future__ import annotations

import time
from typing import Any

from jobs.luthier_error import LuthierError
from jobs.worker import WorkerContext, run_worker
from workshop.asking_job import AskingJob, Stopped
from workshop.comparison.compare import compare, prepare
from workshop.comparison.launch import order_of


def main(context: WorkerContext) -> dict[str, Any] | None:
    began = time.monotonic()
    comparer = AskingJob(context)
    context.phase("reading the prompts")
    prepared = prepare(order_of(context.job))
    try:
        figures = compare(
            prepared,
            context.directory,
            comparer.lend,
            comparer.count,
            lambda text: print(text, flush=True),
        )
    except Stopped:
        return None
    answered = sum(about["answered"] for about in figures["models"].values())
    if not answered:
        failure = next(about["first_failure"] for about in figures["models"].values())
        hint = "The server's log has the details."
        raise LuthierError("No question was answered", failure, hint)
    seconds = round(time.monotonic() - began, 1)
    return {"questions": figures["questions"], "answered": answered, "seconds": seconds}


if __name__ == "__main__":
    run_worker(main)
