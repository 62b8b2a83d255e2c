"""The supervisor of one job: `python -P -m jobs.shim JOB_DIRECTORY`.

Like podman's conmon: the smallest process that outlives the window, holds the job's lock, waits for
its slots, starts its worker, passes a stop on, records how it ended and leaves no process behind.
"""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import NoReturn

from jobs import event_kinds as kinds
from jobs import giving_way, os_errors, processes, queue, slots
from jobs.events import EventLog
from jobs.home import home
from jobs.job import JOB_VARIABLE, Job, descendants_of_own, submit
from jobs.locks import Lock
from jobs.luthier_error import LuthierError
from jobs.spec import Spec
from jobs.state import Done, derive

_STOPS = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT)
# SIGHUP: look at the queue again, or at a worker that gives way
_SIGNALS = (*_STOPS, signal.SIGHUP, signal.SIGCHLD)
_RESERVE_BYTES = 65_536
_SWEEP_SECONDS = 2.0
_POLL_SECONDS = 1.0
_LONGEST_POLL_SECONDS = 10.0
# How often a thread of libgomp (PyTorch's products) looks for work before it lets others have its
# core. Its default, without end where there are no more threads than cores, keeps a core that
# another program needs: beside one busy program, training steps on two cores took eight times as
# long with it, and no more than 1.6 times with this (bench/neighbour.py).
_SPINS = "1000"


class StopRequested(Exception):
    """A stop came while the job waited for its slots."""


class Supervisor:
    def __init__(self, directory: Path) -> None:
        self.job = Job(directory)
        self.spec = self.job.spec
        self.log = EventLog(self.job.events_path)
        self.stopped = False
        self._locks: list[Lock] = []
        self._taker = slots.SlotTaker(self.job)
        self._reserve = directory / ".reserve"
        self._reserve.write_bytes(b"\0" * _RESERVE_BYTES)

    def begin_attempt(self) -> None:
        giving_way.forget(self.job)
        if self.spec.slots:
            queue.enter(self.job)
        attempt = 1 + sum(b'"kind": "queued"' in line for line in self.job.events_path.open("rb"))
        self._tell(kinds.Queued(attempt=attempt))

    def run(self) -> None:
        """From the queue to the end of the worker and of everything it started."""
        code = 0
        try:
            self._locks = self._wait_for_slots()
            code = self._watch(self._start(slots.slot_names(self._locks)))
        except StopRequested:
            self.stopped = True
        except OSError as error:
            code = 127
            self._tell(
                kinds.Error(
                    title="The worker did not start",
                    message=str(error),
                    hint=f"Its Python interpreter is {self.spec.python}.",
                )
            )
        swept = self._sweep()
        self._tell(kinds.Exited(code=code, stopped=self.stopped, swept=swept))
        self._reserve.unlink(missing_ok=True)
        giving_way.forget(self.job)
        # what follows stands in the queue before the slots are free: nobody who goes behind it
        # slips in
        self._start_next()
        self._let_go()

    def _let_go(self) -> None:
        """Free the slots, and tell those who wait."""
        locks, self._locks = self._locks, []
        for lock in locks:
            lock.release()
        if locks:
            queue.wake(queue.waiting(besides=self.job))

    def _tell(self, event: kinds.Timed) -> None:
        """Write what tells the job's state: that is never lost to a full disk."""
        try:
            self.log.tell(event)
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
            self._reserve.unlink(missing_ok=True)  # kept for this moment
            self.log.tell(event)

    def _wait_for_slots(self) -> list[Lock]:
        last: kinds.Waiting | None = None
        while isinstance(taken := self._taker.take(), slots.Wait):
            # a disk that is full now may not be when the job's turn comes
            with contextlib.suppress(OSError):
                waiting = self._what_it_waits_for(taken)
                if last is None or (waiting.waits_for, waiting.servers) != (
                    last.waits_for,
                    last.servers,
                ):
                    self.log.tell(waiting)
                    last = waiting
            info = signal.sigtimedwait(
                _SIGNALS, min(_POLL_SECONDS * max(1, taken.ahead), _LONGEST_POLL_SECONDS)
            )
            if info is not None and info.si_signo in _STOPS:
                queue.leave(self.job)
                self._tell(kinds.StopRequested())
                raise StopRequested
        self.spec = Spec.read(self.job.directory)  # it may have been edited while it waited
        return taken

    def _what_it_waits_for(self, wait: slots.Wait) -> kinds.Waiting:
        """In words; with `servers`, their ids, where a person is to say what to do about servers
        that hold the GPU.

        Where that is said already, they are asked to sleep, once each: it takes the wish away when
        it sleeps, and keeps one it refuses.
        """
        spec = Spec.read(self.job.directory)
        if not wait.in_the_way or spec.preempts == "never":
            return kinds.Waiting(wait.waits_for)
        choice = giving_way.beside_server(spec)
        open_question = spec.preempts == "asks" and (
            not choice or (choice == "share" and not spec.share_gpu)
        )
        if choice != "sleep":
            return kinds.Waiting(
                wait.waits_for, [job.id for job in wait.in_the_way] if open_question else None
            )
        words = []
        for server in wait.in_the_way:
            wish = giving_way.wish_of(server)
            if wish is None or wish.what != "rest" or (wish.refused and wish.by != self.job.id):
                giving_way.ask(server, giving_way.Wish("rest", by=self.job.id))
                self.log.tell(kinds.AskedToSleep(server.id))
            refused = wish.refused if wish is not None else ""
            words.append(
                f"{server.short_id}, which did not go to sleep: {refused}"
                if refused
                else f"{server.short_id} to go to sleep"
            )
        return kinds.Waiting("; ".join(words))

    def _start(self, slot_names: list[str]) -> int:
        """Start the worker in a session of its own; its output goes to output.log."""
        command = [self.spec.python, "-P", "-m", self.spec.module, str(self.job.directory)]
        gpus = ",".join(name.removeprefix("gpu-") for name in slot_names if name.startswith("gpu-"))
        environment = {
            **os.environ,
            # also for what the worker spawns: the user's own trainer.py is never imported
            "PYTHONSAFEPATH": "1",
            "PYTHONUNBUFFERED": "1",
            "DO_NOT_TRACK": "1",
            "GOMP_SPINCOUNT": os.environ.get("GOMP_SPINCOUNT", _SPINS),
            JOB_VARIABLE: str(self.job.directory),
            # nvidia-smi, which names the slots, counts GPUs as the bus does; CUDA by itself puts
            # the fastest first.
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
        self._tell(kinds.Started(child.pid, os.getpid(), command, slot_names))
        return child.pid

    def _watch(self, child: int) -> int:
        """Wait for the worker, passing stops on. Its exit status, negative for a signal."""
        deadline: float | None = None
        while True:
            wants_back = self._give_way()
            timeout = _POLL_SECONDS if wants_back else 3600.0
            if deadline is not None:
                timeout = max(0.0, deadline - time.monotonic())
            info = signal.sigtimedwait(_SIGNALS, timeout)
            code = _reap(child)
            if code is not None:
                return code
            if info is not None and info.si_signo in _STOPS:
                at_once = self.stopped or info.si_signo == signal.SIGQUIT
                if not self.stopped:
                    self.stopped = True
                    grace = 0.0 if at_once else self.spec.grace_seconds
                    self._tell(kinds.StopRequested(grace_seconds=grace))
                    processes.send_signal(child, signal.SIGTERM)
                deadline = time.monotonic() + (0.0 if at_once else self.spec.grace_seconds)
            if deadline is not None and time.monotonic() >= deadline:
                processes.send_signal(child, signal.SIGKILL)
                deadline = None

    def _give_way(self) -> bool:
        """Let go of the slots of a worker that rests, and take them for it again. Whether it waits
        for them."""
        resting = giving_way.resting(self.job) if self.spec.gives_way and not self.stopped else None
        if resting is None:
            return False
        if self._locks:
            self._tell(kinds.SlotsFreed(slots.slot_names(self._locks)))
            self._let_go()
        if resting.wakes == "no":
            return False
        taken = None if resting.must_wait() else self._taker.take()
        if taken is None or isinstance(taken, slots.Wait):
            return True
        self._locks = taken
        self._tell(kinds.SlotsTaken(slots.slot_names(taken)))
        return False

    def _sweep(self) -> int:
        """End what the worker left running, also what moved to a session of its own. How many
        processes that were."""
        signalled: set[int] = set()
        started = time.monotonic()
        while left := self._left_running():
            number = (
                signal.SIGTERM if time.monotonic() - started < _SWEEP_SECONDS else signal.SIGKILL
            )
            for pid in left:
                if pid not in signalled or number is signal.SIGKILL:
                    processes.send_signal(pid, number)
            signalled.update(left)
            time.sleep(0.05)
            _reap(None)
        return len(signalled)

    def _left_running(self) -> list[int]:
        """Every process below, but for the jobs that a worker may start which go on without it."""
        if self.spec.starts_jobs:
            return descendants_of_own(self.job)
        return processes.descendants(os.getpid())

    def _start_next(self) -> None:
        """Start the jobs that the spec names, if this one is done."""
        state = derive(self.spec.ready_phase, False, self.job.events(), 0.0, time.time())
        if not isinstance(state, Done):
            return
        for order in self.spec.then:
            try:
                spec = Spec.of(order, "what follows")
                settings = {
                    key: str(self.job.directory) if value == "{job}" else value
                    for key, value in spec.settings.items()
                }
                submit(
                    replace(
                        spec,
                        settings=settings,
                        beside_server=spec.beside_server or self.spec.beside_server,
                    )
                )
            except (LuthierError, OSError) as error:
                why = os_errors.in_words(error) if isinstance(error, OSError) else error
                self.log.tell(kinds.ThenFailed(str(order.get("name", "")), str(why)))


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
        reason = os_errors.in_words(error) if isinstance(error, OSError) else error
        os.write(writer, str(reason).encode(errors="backslashreplace")[:4096])
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
