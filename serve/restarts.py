"""How often a server that crashed is started again, and after how long."""

from __future__ import annotations

from dataclasses import dataclass, field

from jobs.luthier_error import LuthierError

MOST_RESTARTS = 3
PERIOD_SECONDS = 3600.0
"""Crashes that are longer ago than this do not count any more."""

_PAUSES = (2.0, 10.0, 30.0)


class Crash(LuthierError):
    """vLLM ended although it had been serving, or is not what it was."""


@dataclass
class Restarts:
    """Times are those of a monotonic clock."""

    crashes: list[float] = field(default_factory=list)

    @property
    def count(self) -> int:
        """Which restart within the period the last pause was for."""
        return len(self.crashes)

    def pause(self, now: float) -> float | None:
        """Another crash: how many seconds to wait before the next start, or None if it has crashed
        too often."""
        self.crashes = [at for at in self.crashes if now - at < PERIOD_SECONDS]
        if len(self.crashes) == MOST_RESTARTS:
            return None
        self.crashes.append(now)
        return _PAUSES[len(self.crashes) - 1]
