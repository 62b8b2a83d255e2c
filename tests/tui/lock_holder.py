"""Locks of jobs that another process holds, as their supervisors would: the one of this module,
which is started once, since a process for each test costs more than the test."""

from __future__ import annotations

import atexit
import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import count

from jobs.job import Job

_HOLDER = """
import fcntl, json, signal, sys
signal.signal(signal.SIGHUP, signal.SIG_IGN)
held = {}
for line in sys.stdin:
    number, paths = json.loads(line)
    for file in held.pop(number, ()):
        file.close()
    if paths:
        held[number] = [open(path, "w") for path in paths]
        for file in held[number]:
            fcntl.lockf(file, fcntl.LOCK_EX)
    print("done", flush=True)
"""


class _Holder:
    """The process that holds locks, until this one ends."""

    def __init__(self) -> None:
        self._numbers = count()
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", _HOLDER],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        atexit.register(self.end)

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def hold(self, paths: Sequence[str]) -> int:
        """The number by which they are let go."""
        number = next(self._numbers)
        self._tell(number, paths)
        return number

    def let_go(self, number: int) -> None:
        with suppress(BrokenPipeError):  # a test ended the process, as it would a supervisor
            self._tell(number, [])

    def end(self) -> None:
        self._process.communicate()

    def _tell(self, number: int, paths: Sequence[str]) -> None:
        assert self._process.stdin is not None and self._process.stdout is not None
        print(json.dumps([number, paths]), file=self._process.stdin, flush=True)
        if not self._process.stdout.readline():
            raise BrokenPipeError


_holders: list[_Holder] = []


def _holder() -> _Holder:
    if not _holders or not _holders[-1].alive:
        _holders.append(_Holder())
    return _holders[-1]


@contextmanager
def held(*jobs: Job) -> Iterator[None]:
    """Another process holds the locks of these jobs."""
    holder = _holder()
    number = holder.hold([str(job.directory / "lock") for job in jobs])
    try:
        yield
    finally:
        holder.let_go(number)
