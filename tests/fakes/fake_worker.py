"""A worker whose conduct its settings choose: ends well, fails, dies, leaves orphans behind,
ignores stops, fills the disk."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from jobs.luthier_error import LuthierError
from jobs.worker import WorkerContext, run_worker

_SLEEPER = [sys.executable, "-S", "-c", "import time; time.sleep(300)"]
_STUBBORN = [
    sys.executable,
    "-S",
    "-c",
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(300)",
]


def main(context: WorkerContext) -> dict[str, Any] | None:
    conduct = context.settings["conduct"]
    context.phase(conduct)
    return _CONDUCTS[conduct](context)


def well(context: WorkerContext) -> dict[str, Any]:
    return {
        "answer": 42,
        "cwd": str(Path.cwd()),
        "gpus": os.environ.get("CUDA_VISIBLE_DEVICES", ""),
    }


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


def forked(context: WorkerContext) -> dict[str, Any]:
    """A child that shares every open file, has a session of its own and takes no SIGTERM."""
    if os.fork() == 0:
        os.setsid()
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        context.event("child", pid=os.getpid())
        time.sleep(300)
    time.sleep(0.2)  # until the child has its signals set
    return {}


def starting(context: WorkerContext) -> None:
    context.stopping.wait(300)


def slow_to_stop(context: WorkerContext) -> None:
    context.event("step", step=1, total=10)
    context.stopping.wait(300)
    time.sleep(300)


def fills_the_disk(context: WorkerContext) -> None:
    with (context.directory / "checkpoint").open("wb", buffering=0) as file:
        while True:
            file.write(b"1" * 100_000)


def tells_its_orders(context: WorkerContext) -> dict[str, Any]:
    """What it was told: in its settings, and in a second file beside them."""
    recipe = context.directory / "recipe.toml"
    return {"settings": context.settings, "recipe": recipe.read_text() if recipe.exists() else ""}


def steps(context: WorkerContext) -> None:
    """Until it is stopped: a test in which others wait for it may take long on a busy machine."""
    step = 0
    while not context.stopping.wait(0.02):
        step += 1
        context.event("step", step=step, total=100_000, loss=1.0 / step)
    context.event("checkpoint", step=step, path="")


_FAILURES = (
    told_error,
    unexpected_error,
    disk_full,
    fills_the_disk,
    exit_status,
    no_result,
    killed,
)
_OTHERS = (well, stubborn, orphans, forked, starting, slow_to_stop, tells_its_orders, steps)
_CONDUCTS: dict[str, Callable[[WorkerContext], dict[str, Any] | None]] = {
    conduct.__name__.replace("_", " "): conduct for conduct in (*_FAILURES, *_OTHERS)
}


if __name__ == "__main__":
    run_worker(main)
