"""What every worker does alike: read its spec, tell its phases, stop with care, and end with a
result or an error that can be read."""

from __future__ import annotations

import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

from jobs import failure_reason
from jobs.event_kinds import Error, Phase, Timed, fields_of, kind_name
from jobs.events import EventLog
from jobs.job import Job
from jobs.luthier_error import LuthierError


class WorkerContext:
    """The worker's side of its job. `stopping` is set by the first SIGTERM or SIGINT."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.directory = job.directory
        self.settings = job.spec.settings
        self.stopping = threading.Event()
        self._log = EventLog(job.events_path)

    def event(self, kind: str, **fields: Any) -> None:
        self._log.append(kind, **fields)

    def tell(self, event: Timed) -> None:
        """Append an event of this layer's kinds (`models.events.tell` takes the others, too)."""
        self.event(kind_name(type(event).__name__), **fields_of(event))

    def phase(self, name: str, **fields: Any) -> None:
        """What the worker does now, in words for a person: "loading the model"."""
        self.tell(Phase(name, **fields))


def run_worker(main: Callable[[WorkerContext], dict[str, Any] | None]) -> None:
    """Run a worker's `main` and exit. What it returns becomes the `result` event; None means that
    it was stopped before it had one."""
    context = WorkerContext(Job(Path(sys.argv[1])))

    def request_stop(number: int, frame: FrameType | None) -> None:
        context.stopping.set()

    signal.signal(signal.SIGTERM, request_stop)
    signal.signal(signal.SIGINT, request_stop)
    try:
        result = main(context)
        if result is not None:
            context.event("result", **result)
    except LuthierError as error:
        _fail(context, error)
    except Exception as error:  # noqa: BLE001 - the last line of defence: it becomes the job's error event
        _fail(context, failure_reason.of_exception(error, context.directory))
    _exit(0)


def _fail(context: WorkerContext, error: LuthierError) -> None:
    """Tell of the error (the event first: the log may not be writable) and exit."""
    try:
        try:
            context.tell(Error(**error.to_json()))
        except OSError:
            # the supervisor keeps it for a full disk
            (context.directory / ".reserve").unlink(missing_ok=True)
            context.tell(Error(**error.to_json()))
        if not isinstance(sys.exception(), LuthierError):
            traceback.print_exc()
        print(error, file=sys.stderr, flush=True)
    finally:
        _exit(1)


def _exit(code: int) -> None:
    """Exit without the interpreter's farewell: the libraries' background threads sometimes hang or
    crash in it."""
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(code)
