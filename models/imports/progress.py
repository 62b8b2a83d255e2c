"""How far a job with bytes is: told twice a second at most, and the place where a stop is
noticed."""

from __future__ import annotations

import threading
import time
from collections import deque

from jobs.worker import WorkerContext

_TELL_SECONDS = 0.5
_PACE_SECONDS = 15.0  # the time left is reckoned at the pace of the last moments


class Stopped(Exception):
    """The job was asked to stop. What it has so far stays or goes as its kind of work has it."""


class ByteProgress:
    """Counts bytes of several threads. `add` raises Stopped once the job is asked to stop."""

    def __init__(self, context: WorkerContext) -> None:
        self._context = context
        self._lock = threading.Lock()
        self._name = ""
        self._done = self._total = 0
        self._told = 0.0
        self._recent: deque[tuple[float, int]] = deque()

    def begin(self, name: str, total: int, done: int = 0) -> None:
        """A new phase of `total` bytes, of which `done` are there already."""
        with self._lock:
            self._name, self._done, self._total = name, done, total
            self._recent.clear()
            self._tell(time.monotonic())

    def add(self, count: int) -> None:
        self.check()
        with self._lock:
            self._done += count
            now = time.monotonic()
            if now - self._told >= _TELL_SECONDS:
                self._tell(now)

    def check(self) -> None:
        if self._context.stopping.is_set():
            raise Stopped

    def wait(self, seconds: float) -> None:
        """Sleep, but notice a stop."""
        if self._context.stopping.wait(seconds):
            raise Stopped

    def _tell(self, now: float) -> None:
        self._told = now
        self._recent.append((now, self._done))
        while len(self._recent) > 2 and now - self._recent[0][0] > _PACE_SECONDS:
            self._recent.popleft()
        since, before = self._recent[0]
        pace = (self._done - before) / (now - since) if now > since else 0.0
        left = {"seconds_left": round((self._total - self._done) / pace, 1)} if pace > 0 else {}
        self._context.phase(self._name, done=self._done, total=self._total, unit="bytes", **left)
