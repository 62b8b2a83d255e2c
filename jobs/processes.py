"""Processes as the kernel tells of them (/proc; without it, none are known)."""

from __future__ import annotations

import ctypes
import os
import signal
from pathlib import Path

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36


def parents() -> dict[int, int]:
    """The parent's pid of every process that is not a zombie."""
    parent_of: dict[int, int] = {}
    for entry in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = entry.read_text().rpartition(")")[2].split()
        except OSError:  # it ended while we looked
            continue
        if fields[0] != "Z":
            parent_of[int(entry.parent.name)] = int(fields[1])
    return parent_of


def descendants(pid: int) -> list[int]:
    """Every living process below `pid`, parents before children."""
    table = parents()
    tree = [pid]
    for parent in tree:
        tree.extend(child for child, its_parent in table.items() if its_parent == parent)
    return tree[1:]


def with_environment(entry: str) -> list[int]:
    """Every living process of this user whose environment has "NAME=value"; what a process starts
    has it too, wherever it moves."""
    entry_bytes = b"\0" + entry.encode() + b"\0"
    pids = []
    for environment in Path("/proc").glob("[0-9]*/environ"):
        try:
            if entry_bytes in b"\0" + environment.read_bytes():
                pids.append(int(environment.parent.name))
        except OSError:  # another user's, or it ended while we looked
            continue
    return sorted(pids)


def send_signal(pid: int, number: signal.Signals) -> None:
    """Send a signal; a process that has just ended is no error."""
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return


def adopt_orphans() -> None:
    """Make this process the parent of every descendant whose parent dies (Linux)."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def end_with_parent() -> None:
    """Have this process sent SIGTERM when its parent dies (Linux)."""
    _prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def _prctl(option: int, value: int) -> None:
    prctl = getattr(ctypes.CDLL(None, use_errno=True), "prctl", None)
    if prctl is not None and prctl(option, value, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl")
