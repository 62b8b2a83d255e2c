"""A worker whose conduct its settings choose: ends well, fails, dies, leaves orphans behind, ignores stops, fills the disk."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from jobs.errors import LuthierError
from jobs.worker import WorkerContext, run_worker

_SLEEPER = [sys.executable, "-S", "-c", "import time; time.sleep(300)"]
_STUBBORN = [sys.executable, "-S", "-c", "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(300)"]


def main(context: WorkerContext) -> dict[str, Any] | None:
    conduct = context.settings["conduct"]
    context.phase(conduct)
    return _CONDUCTS[conduct](context)


def well(context: WorkerContext) -> dict[str, Any]:
    return {"answer": 42, "cwd": str(Path.cwd()), "gpus": os.environ.get("CUDA_VISIBLE_DEVICES", "")}


def told_error(context: WorkerContext) -> None:
    raise LuthierError("Told", "because", "do that")


def unexpected_error(context: WorkerContext) -> None:
    raise RuntimeError("boom")


def disk_full(context: WorkerContext) -> None:
    raise OSError(28, "No space left on device", "/some/file")


def exit_status(context: WorkerContext) -> None:
    print("last words", flush=True)
    os._exit(3)


def no_result(context: WorkerContext) -> None:
    os._exit(0)


def killed(context: WorkerContext) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def stubborn(context: WorkerContext) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    context.event("step", step=1, total=10)
    time.sleep(300)


def orphans(context: WorkerContext) -> dict[str, Any]:
    subprocess.Popen(_SLEEPER)
    subprocess.Popen(_STUBBORN, start_new_session=True)
    time.sleep(0.3)  # until the stubborn one has its signals set
    return {}


def steps(context: WorkerContext) -> dict[str, Any] | None:
    for step in range(1, 1001):
        context.event("step", step=step, total=1000, loss=1.0 / step)
        if context.stopping.wait(0.02):
            context.event("checkpoint", step=step, path="")
            return None
    return {}


_CONDUCTS: dict[str, Callable[[WorkerContext], dict[str, Any] | None]] = {
    conduct.__name__.replace("_", " "): conduct
    for conduct in (well, told_error, unexpected_error, disk_full, exit_status, no_result, killed, stubborn, orphans, steps)
}


if __name__ == "__main__":
    run_worker(main)
