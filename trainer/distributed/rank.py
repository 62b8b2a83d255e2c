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
from typing import Any, NoReturn

from jobs import processes
from jobs.errors import LuthierError
from jobs.job import Job
from jobs.worker import WorkerContext, as_error
from trainer import worker
from trainer.distributed import ranks
from trainer.plan.plan import Plan
from trainer.plan.repair import OutOfMemory

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


def main(directory: str, batch: dict[str, Any] | None) -> dict[str, Any] | None:
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
        return worker.work(context, plan, batch)
    except OutOfMemory as error:
        _fail(context, {"kind": "out_of_memory", **error.to_json()})
    except LuthierError as error:
        _fail(context, {"kind": "error", **error.to_json()})
    except Exception as error:  # noqa: BLE001 - the last line of defence: the launcher makes it the job's error
        traceback.print_exc()
        # When a peer dies, its connection breaks here: the launcher is to see the peer's end first.
        time.sleep(_PEERS_FIRST_SECONDS)
        _fail(context, {"kind": "unexpected", **as_error(error, context.directory).to_json()})


def _fail(context: RankContext, told: dict[str, Any]) -> NoReturn:
    """Leave the reason for the launcher, and end."""
    number = int(os.environ["RANK"])
    try:
        path = context.directory / FOLDER / f"failure-{number}.json"
        path.write_text(json.dumps({"rank": number, **told}), encoding="utf-8")
    finally:
        sys.stderr.flush()
        os._exit(1)


def _leave() -> None:
    """End without the interpreter's farewell, as jobs.worker does."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)
