"""How busy the machine is: processors, memory, disk and GPUs, as the kernel and nvidia-smi tell.

In a container with a share of its own, that share counts.
"""

from __future__ import annotations

import os
import shutil
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from jobs.gpus import query_gpus
from jobs.home import home
from jobs.memory import main_memory

_GROUP = Path("/sys/fs/cgroup")  # of a container: control groups of version 2
_MOST_FIELDS = 8  # of /proc/stat's first line; what guests take is in the first ones, too
_IDLE_FIELDS = (3, 4)  # idle, and waiting for a disk


@dataclass(frozen=True)
class Machine:
    """What is taken of it now."""

    cores: float
    """Processors that may be used; a container's share may be a fraction."""
    cpu: float | None
    """The share of them that was busy since the look before, from 0 to 1; None where that is not
    known."""
    memory_used: int | None
    """Bytes that cannot be had by a new process; None where that is not known."""
    memory_total: int
    """Bytes."""
    disk_used: int = 0
    """Bytes that are taken of the disk with Luthier's home."""
    disk_total: int = 0
    """Its bytes; 0 where that is not known."""
    load: float = 0.0
    """Processes that ran or waited for a processor, a mean over the last minute."""

    @property
    def memory_free(self) -> int | None:
        return None if self.memory_used is None else self.memory_total - self.memory_used


@dataclass(frozen=True)
class GpuLoad:
    """A GPU at work. What it does not tell is None."""

    index: int
    name: str
    busy: float | None
    """The share of the time in which it computed, from 0 to 1."""
    memory_used: int
    memory_total: int
    watts: float | None
    most_watts: float | None
    celsius: float | None


class Meter:
    """Tells the machine's load since its look before."""

    def __init__(self) -> None:
        self._before = _times()

    def read(self) -> Machine:
        before, now = self._before, _times()
        self._before = now
        cpu = None
        if before is not None and now is not None and now[1] > before[1]:
            cpu = min(1.0, max(0.0, (now[0] - before[0]) / (now[1] - before[1])))
        total = main_memory()
        disk_used, disk_total = _disk()
        load = os.getloadavg()[0]
        return Machine(_cores(), cpu, _memory_used(total), total, disk_used, disk_total, load)


def gpu_loads() -> list[GpuLoad]:
    """Every GPU that may be used here; empty without a driver."""
    fields = "utilization.gpu,memory.used,memory.total,power.draw,power.limit,temperature.gpu"
    return [
        GpuLoad(
            index,
            name,
            None if (busy := _figure(values[0])) is None else busy / 100,
            int(_figure(values[1]) or 0) << 20,
            int(_figure(values[2]) or 0) << 20,
            *(_figure(value) for value in values[3:6]),
        )
        for index, name, values in query_gpus(fields)
    ]


def _disk() -> tuple[int, int]:
    try:
        usage = shutil.disk_usage(home())
    except OSError:  # nothing is there yet
        return 0, 0
    return usage.total - usage.free, usage.total


def _figure(text: str) -> float | None:
    """A number; None of "[N/A]" and its like."""
    try:
        return float(text)
    except ValueError:
        return None


def _times() -> tuple[float, float] | None:
    """Seconds that processors were busy, and that they could have been, since some beginning."""
    quota = _quota()
    with suppress(OSError, ValueError, IndexError):
        if quota is not None:
            lines = (_GROUP / "cpu.stat").read_text().splitlines()
            used = next(line for line in lines if line.startswith("usage_usec")).split()[1]
            return int(used) / 1e6, quota * time.monotonic()
        with Path("/proc/stat").open() as file:
            ticks = [int(field) for field in file.readline().split()[1 : 1 + _MOST_FIELDS]]
        idle = sum(ticks[field] for field in _IDLE_FIELDS)
        return float(sum(ticks) - idle), float(sum(ticks))
    return None


def _quota() -> float | None:
    """How many processors a container may take; None without a limit."""
    try:
        most, period = (_GROUP / "cpu.max").read_text().split()
        return int(most) / int(period)
    except (OSError, ValueError):  # no such file, or "max"
        return None


def _cores() -> float:
    quota = _quota()
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return min(quota, float(allowed or 1)) if quota is not None else float(allowed or 1)


def _memory_used(total: int) -> int | None:
    """What a container has taken, its cache of files left out, else what the whole machine has."""
    with suppress(OSError, ValueError, StopIteration):
        if int((_GROUP / "memory.max").read_text()) <= total:
            lines = (_GROUP / "memory.stat").read_text().splitlines()
            cache = next(line for line in lines if line.startswith("inactive_file")).split()[1]
            return int((_GROUP / "memory.current").read_text()) - int(cache)
    with suppress(OSError, ValueError, StopIteration):
        lines = Path("/proc/meminfo").read_text().splitlines()
        free = next(line for line in lines if line.startswith("MemAvailable")).split()[1]
        return total - int(free) * 1024
    return None
