"""Runs the real training worker many times without loading its libraries each time: `python -m
tests.real.forking ENGINE`.

Reads one order a line, `{"job": folder, "kill_after": seconds or null, "faults": [[name, argument],
...]}`, and answers each with a line `{"code": exit status, negative for a signal}`. Each order is a
fork of this process, which has imported everything and computed nothing; it runs the worker's own
`run_worker(main)` in the job's folder. `faults` are functions of tests.real.faults, called in the
child first.
"""

from __future__ import annotations

import sys
from contextlib import redirect_stdout
from importlib import import_module

with redirect_stdout(sys.stderr):  # Unsloth greets
    import_module(f"trainer.run.{sys.argv[1]}_engine")  # first: see trainer.run.unsloth_engine

# isort: split
import json
import os
import signal
import time
from typing import NoReturn

import datasets  # noqa: F401
import peft  # noqa: F401

from jobs.worker import run_worker
from models import preflight, samples, template  # noqa: F401
from tests.real import faults
from trainer import worker
from trainer.data import pipeline  # noqa: F401
from trainer.distributed import torchrun
from trainer.run import distillation, preference  # noqa: F401


def main() -> None:
    torchrun.START_METHOD = "fork"  # ranks, too, have their libraries at once
    print("ready", flush=True)
    for line in sys.stdin:
        order = json.loads(line)
        child = os.fork()
        if child == 0:
            _work(order)
        print(json.dumps({"code": _wait(child, order.get("kill_after"))}), flush=True)
    os._exit(0)  # nothing is left to do, and taking down what was imported takes seconds


def _wait(child: int, kill_after: float | None) -> int:
    deadline = None if kill_after is None else time.monotonic() + kill_after
    while True:
        pid, status = os.waitpid(child, 0 if deadline is None else os.WNOHANG)
        if pid:
            return os.waitstatus_to_exitcode(status)
        if deadline is not None and time.monotonic() >= deadline:
            os.kill(child, signal.SIGKILL)
            deadline = None
        else:
            time.sleep(0.002)


def _work(order: dict[str, object]) -> NoReturn:
    folder = str(order["job"])
    output = os.open(f"{folder}/output.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    null = os.open(os.devnull, os.O_RDONLY)
    for number, descriptor in ((null, 0), (output, 1), (output, 2)):
        os.dup2(number, descriptor)
    os.chdir(folder)
    sys.argv = ["trainer.worker", folder]
    for name, argument in order.get("faults", []):  # type: ignore[attr-defined]
        getattr(faults, name)(argument)
    run_worker(worker.main)
    raise AssertionError("run_worker exits")


if __name__ == "__main__":
    main()
