"""POSIX record locks.

`lockf`, not `flock`: a forked child does not keep the lock of its dead parent, and the kernel names
the holder's pid. The price: closing any descriptor of the file in the holder drops the lock, so a
holder opens its file once.
"""

from __future__ import annotations

import fcntl
import os
import struct
from pathlib import Path

# struct flock of Linux on 64-bit machines: l_type, l_whence, l_start, l_len, l_pid.
_FLOCK = "hhqqi4x"


class Lock:
    """An exclusive lock on a file, held until `release` or the end of the process.

    A `shared` one locks only the byte whose offset is this process's pid: any number of those stand
    beside each other, each with its holder's name, but not beside a lock on the whole file.
    """

    def __init__(self, path: Path, *, shared: bool = False) -> None:
        self.path = path
        self.shared = shared
        self._descriptor: int | None = None

    def acquire(self, *, wait: bool = False) -> bool:
        """Take the lock. False if another process holds it (with `wait`, it waits instead)."""
        length, start = (1, os.getpid()) if self.shared else (0, 0)
        descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.lockf(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB), length, start)
        except BlockingIOError:
            os.close(descriptor)
            return False
        except BaseException:
            os.close(descriptor)
            raise
        self._descriptor = descriptor
        return True

    def release(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def holder(path: Path) -> int | None:
    """The pid that holds the lock on `path`, or None. Never call it in the holder's own process: it
    would drop the lock."""
    pids = holders(path)
    return pids[0][0] if pids else None


def holders(path: Path) -> list[tuple[int, bool]]:
    """Every pid that holds a lock on `path`, and whether it shares it. Never call it in a holder's
    own process."""
    try:
        # the kernel tells those who may only read, too
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError:
        return []
    try:
        return sorted(_holders_between(descriptor, 0, 0))
    finally:
        os.close(descriptor)


def _holders_between(descriptor: int, start: int, length: int) -> list[tuple[int, bool]]:
    """Locks on these bytes (`length` 0: to the end): the kernel names one at a time, in no order,
    so ask again on either side of it."""
    query = struct.pack(_FLOCK, fcntl.F_WRLCK, os.SEEK_SET, start, length, 0)
    kind, _, at, size, pid = struct.unpack(_FLOCK, fcntl.fcntl(descriptor, fcntl.F_GETLK, query))
    if kind == fcntl.F_UNLCK:
        return []
    holders = [(int(pid), size == 1)]
    if at > start:
        holders += _holders_between(descriptor, start, at - start)
    if size and (length == 0 or at + size < start + length):
        holders += _holders_between(descriptor, at + size, length and start + length - at - size)
    return holders
