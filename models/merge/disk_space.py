"""Where a merge is made, and the room that it takes there."""

from __future__ import annotations

import shutil
from pathlib import Path

from jobs.luthier_error import LuthierError

LOCK = ".lock"
_SPARE = 64 << 20  # bytes beside the weights: tokenizer and receipt


def partial_directory(out: Path) -> Path:
    """Where a merge into `out` is made. What a killed one left there, the next one clears away."""
    return out.with_name(f".{out.name}.merging")


def free_bytes(out: Path) -> int:
    """What a merge into `out` may write."""
    partial = partial_directory(out)
    left = (
        sum(path.stat().st_size for path in partial.rglob("*") if path.is_file())
        if partial.is_dir()
        else 0
    )
    there = next(folder for folder in out.absolute().parents if folder.is_dir())
    return shutil.disk_usage(there).free + left


def check_room(out: Path, weights: int) -> None:
    """LuthierError if there is too little for so many bytes of weights."""
    free = free_bytes(out)
    if free < weights + _SPARE:
        needed, there = (weights + _SPARE) / 1e9, free / 1e9
        message = f"The merge takes {needed:.1f} GB, but {out.parent} has only {there:.1f} GB free."
        raise LuthierError(
            "Not enough disk space",
            message,
            "Free some space, or write to another disk with `luthier merge --out`.",
        )
