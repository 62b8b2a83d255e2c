"""What a certificate waits for, until its job is to stop: processes, which have ended when their
answers are read, and questions to a server."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Coroutine
from typing import Any, TypeVar

from jobs import processes
from jobs.files import tail_lines
from jobs.luthier_error import LuthierError
from jobs.worker import WorkerContext
from models import foreign
from serve.certificate.measured import ORDERS_FILE, REFERENCE_FILE, Orders, Reference, write

_Result = TypeVar("_Result")


class Stopped(Exception):
    """The job was asked to stop."""


def run_reference(context: WorkerContext, orders: Orders) -> Reference:
    """What transformers and PEFT say. Raises Stopped when the job is to end."""
    write(context.directory / ORDERS_FILE, orders)
    folder = str(context.directory)
    run_process(
        context,
        [sys.executable, "-P", "-m", "serve.certificate.reference", folder],
        "transformers",
    )
    return foreign.read(context.directory / REFERENCE_FILE, Reference)


def run_process(context: WorkerContext, command: list[str], program: str) -> None:
    """Wait for it. LuthierError with its last words if it fails."""
    child = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, preexec_fn=processes.end_with_parent
    )
    while child.poll() is None:
        if context.stopping.wait(0.1):
            child.kill()
            child.wait()
            raise Stopped
    if child.returncode != 0:
        words = "\n".join(tail_lines(context.job.log_path, 8))
        message = f"The process that runs {program} ended with status {child.returncode}.\n{words}"
        raise LuthierError(f"{program} could not run", message, "The log has the details.")


def wait_for(context: WorkerContext, work: Coroutine[Any, Any, _Result]) -> _Result:
    """Run a coroutine. Raises Stopped when the job is to end."""

    async def watched() -> _Result:
        task = asyncio.ensure_future(work)
        while not task.done():
            await asyncio.wait({task}, timeout=0.2)
            if context.stopping.is_set():
                task.cancel()
                raise Stopped
        return task.result()

    return asyncio.run(watched())
