"""How much main memory there is."""

from __future__ import annotations

import os
from pathlib import Path

# What a container may take: control groups of version 2, then 1.
_LIMITS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))


def main_memory() -> int:
    """In bytes: the machine's, or the container's share of it."""
    sizes = [os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")]
    for path in _LIMITS:
        try:
            sizes.append(int(path.read_text()))
        except (OSError, ValueError):  # not there, or "max"
            continue
    return min(sizes)
