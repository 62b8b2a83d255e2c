"""A worker whose conduct its settings choose: ends well, fails, dies, leaves orphans behind, ignores stops, fills the disk."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from typing import Any

from jobs.errors import LuthierError
from jobs.worker import WorkerContext, run_worker

_SLEEPER = [sys.executable, "-S", "-c", "import time; time.sleep(300)"]
_STUBBORN = [sys.executable, "-S", "-c", "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(300)"]


def main(context: WorkerContext) -> dict[str, Any] | None:
    conduct = context.settings["conduct"]
    context.phase(conduct)
    match conduct:
        case "well":
            return {"answer": 42, "cwd": os.getcwd(), "gpus": os.environ.get("CUDA_VISIBLE_DEVICES", "")}
        case "no result":
            os._exit(0)
        case "told error":
            raise LuthierError("Told", "because", "do that")
        case "unexpected error":
            raise RuntimeError("boom")
        case "exit status":
            print("last words", flush=True)
            os._exit(3)
        case "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        case "disk full":
            raise OSError(28, "No space left on device", "/some/file")
        case "stubborn":
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            context.event("step", step=1, total=10)
            time.sleep(300)
        case "orphans":
            subprocess.Popen(_SLEEPER)
            subprocess.Popen(_STUBBORN, start_new_session=True)
            time.sleep(0.3)  # until the stubborn one has its signals set
            return {}
        case "steps":
            for step in range(1, 1001):
                context.event("step", step=step, total=1000, loss=1.0 / step)
                if context.stopping.wait(0.02):
                    context.event("checkpoint", step=step, path="")
                    return None
    return {}


if __name__ == "__main__":
    run_worker(main)
