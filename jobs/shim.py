"""The supervisor of one job: `python -P -m jobs.shim JOB_DIRECTORY`.

Like podman's conmon: the smallest process that outlives the window, holds the job's lock, waits for its slots, starts its worker,
passes a stop on, records how it ended and leaves no process behind.
"""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, NoReturn

from jobs import processes, queue, slots
from jobs.errors import LuthierError
from jobs.events import EventLog
from jobs.home import home
from jobs.job import JOB_VARIABLE, Job, submit
from jobs.locks import Lock
from jobs.spec import Spec
from jobs.state import Done, derive

_STOPS = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT)
_SIGNALS = (*_STOPS, signal.SIGHUP, signal.SIGCHLD)  # SIGHUP: look at the queue again
_RESERVE_BYTES = 65_536
_SWEEP_SECONDS = 2.0
_POLL_SECONDS = 1.0
_LONGEST_POLL_SECONDS = 10.0


class StopRequested(Exception):
    """A stop came while the job waited for its slots."""


class Supervisor:
    def __init__(self, directory: Path) -> None:
        self.job = Job(directory)
        self.spec = self.job.spec
        self.log = EventLog(self.job.events_path)
        self.stopped = False
        self._reserve = directory / ".reserve"
        self._reserve.write_bytes(b"\0" * _RESERVE_BYTES)

    def begin_attempt(self) -> None:
        if self.spec.slots:
            queue.enter(self.job)
        attempt = 1 + sum(b'"kind": "queued"' in line for line in self.job.events_path.open("rb"))
        self._append("queued", attempt=attempt)

    def run(self) -> None:
        """From the queue to the end of the worker and of everything it started."""
        code = 0
        locks: list[Lock] = []
        try:
            locks = self._wait_for_slots()
            code = self._watch(self._start(slots.slot_names(locks)))
        except StopRequested:
            self.stopped = True
        except OSError as error:
            code = 127
            self._append("error", title="The worker did not start", message=str(error), hint=f"The interpreter is {self.spec.python}.")
        swept = self._sweep()
        self._append("exited", code=code, stopped=self.stopped, swept=swept)
        self._reserve.unlink(missing_ok=True)
        for lock in locks:
            lock.release()
        if locks:
            queue.wake(queue.waiting(besides=self.job))
        self._start_next()

    def _append(self, kind: str, **fields: Any) -> None:
        """Write what tells the job's state: that is never lost to a full disk."""
        try:
            self.log.append(kind, **fields)
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
            self._reserve.unlink(missing_ok=True)  # kept for this moment
            self.log.append(kind, **fields)

    def _wait_for_slots(self) -> list[Lock]:
        taker, told = slots.SlotTaker(self.job), ""
        while isinstance(taken := taker.take(), slots.Wait):
            if taken.waits_for != told:
                with contextlib.suppress(OSError):  # a disk that is full now may not be when the job's turn comes
                    self.log.append("waiting", waits_for=taken.waits_for)
                    told = taken.waits_for
            info = signal.sigtimedwait(_SIGNALS, min(_POLL_SECONDS * max(1, taken.ahead), _LONGEST_POLL_SECONDS))
            if info is not None and info.si_signo in _STOPS:
                queue.leave(self.job)
                self._append("stop_requested")
                raise StopRequested
        self.spec = Spec.read(self.job.directory)  # it may have been edited while it waited
        return taken

    def _start(self, slot_names: list[str]) -> int:
        """Start the worker in a session of its own; its output goes to output.log."""
        command = [self.spec.python, "-P", "-m", self.spec.module, str(self.job.directory)]
        gpus = ",".join(name.removeprefix("gpu-") for name in slot_names if name.startswith("gpu-"))
        environment = {
            **os.environ,
            "PYTHONSAFEPATH": "1",  # also for what the worker spawns: the user's own trainer.py is never imported
            "PYTHONUNBUFFERED": "1",
            "DO_NOT_TRACK": "1",
            JOB_VARIABLE: str(self.job.directory),
            # nvidia-smi, which names the slots, counts GPUs as the bus does; CUDA by itself puts the fastest first.
            **({"CUDA_VISIBLE_DEVICES": gpus, "CUDA_DEVICE_ORDER": "PCI_BUS_ID"} if gpus else {}),
        }
        with self.job.log_path.open("ab") as output:
            child = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                env=environment,
                cwd=self.job.directory,
                preexec_fn=_prepare_worker,
            )
        child.returncode = 0  # reaped by waitpid(-1) below, not by Popen
        self._append("started", pid=child.pid, shim=os.getpid(), argv=command, slots=slot_names)
        return child.pid

    def _watch(self, child: int) -> int:
        """Wait for the worker, passing stops on. Its exit status, negative for a signal."""
        deadline: float | None = None
        while True:
            timeout = 3600.0 if deadline is None else max(0.0, deadline - time.monotonic())
            info = signal.sigtimedwait(_SIGNALS, timeout)
            code = _reap(child)
            if code is not None:
                return code
            if info is not None and info.si_signo in _STOPS:
                at_once = self.stopped or info.si_signo == signal.SIGQUIT
                if not self.stopped:
                    self.stopped = True
                    self._append("stop_requested", grace_seconds=0.0 if at_once else self.spec.grace_seconds)
                    processes.send_signal(child, signal.SIGTERM)
                deadline = time.monotonic() + (0.0 if at_once else self.spec.grace_seconds)
            if deadline is not None and time.monotonic() >= deadline:
                processes.send_signal(child, signal.SIGKILL)
                deadline = None

    def _sweep(self) -> int:
        """End what the worker left running, also what moved to a session of its own. How many processes that were."""
        seen: set[int] = set()
        started = time.monotonic()
        while left := processes.descendants(os.getpid()):
            number = signal.SIGTERM if time.monotonic() - started < _SWEEP_SECONDS else signal.SIGKILL
            for pid in left:
                if pid not in seen or number is signal.SIGKILL:
                    processes.send_signal(pid, number)
            seen.update(left)
            time.sleep(0.05)
            _reap(None)
        return len(seen)

    def _start_next(self) -> None:
        """Start the jobs that the spec names, if this one is done."""
        state = derive(self.spec.kind, False, self.job.events(), 0.0, time.time())
        if not isinstance(state, Done):
            return
        for order in self.spec.then:
            spec = Spec(**order)
            settings = {key: str(self.job.directory) if value == "{job}" else value for key, value in spec.settings.items()}
            try:
                submit(Spec(**{**order, "settings": settings}))
            except (LuthierError, OSError) as error:
                self.log.append("then_failed", name=spec.name, message=str(error))


def _prepare_worker() -> None:
    processes.end_with_parent()
    signal.pthread_sigmask(signal.SIG_SETMASK, [])


def _reap(child: int | None) -> int | None:
    """Collect every ended child, orphans too. The exit status of `child` if it was among them."""
    code = None
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return code
        if pid == 0:
            return code
        if pid == child:
            code = os.waitstatus_to_exitcode(status)


def main() -> NoReturn:
    """Detach, take the lock, answer the starter ("held", or why not), then supervise."""
    directory = Path(sys.argv[1])
    reader, writer = os.pipe()
    if os.fork():
        os.close(writer)
        answer = os.read(reader, 4096)
        if answer == b"held":
            os._exit(0)
        os.write(2, answer or b"The supervisor ended before it could say why.")
        os._exit(1)
    os.close(reader)
    signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    lock = Lock(directory / "lock")
    try:
        if not lock.acquire():
            raise LuthierError("Already running", f"{directory.name} has a supervisor.")
        processes.adopt_orphans()
        supervisor = Supervisor(directory)
        supervisor.begin_attempt()
    except (LuthierError, OSError) as error:
        os.write(writer, str(error).encode()[:4096])
        os._exit(1)
    null = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(null, descriptor)
    os.write(writer, b"held")
    os.close(writer)
    home().mkdir(parents=True, exist_ok=True)
    supervisor.run()
    os._exit(0)


if __name__ == "__main__":
    main()
