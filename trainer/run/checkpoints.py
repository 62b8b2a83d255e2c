"""Checkpoints that are whole or absent. Light: no trainer in here.

A checkpoint is saved under `checkpoints/.saving`, flushed to the disk and renamed to
`checkpoints/step-000100`; COMPLETE is written last and lists each file's size and hash. Whatever
lacks it, or does not agree with it, is never resumed from. The folder is a PEFT adapter that can be
served, with the optimizer, the schedule, the random states and `luthier.json` beside it: what
Luthier itself must know to go on.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from jobs import foreign_json
from jobs.files import flush, write_json
from models.run_folder import COMPLETE, RunFolder

SAVING_FOLDER = ".saving"
MEMORY_FILE = "luthier.json"


@runtime_checkable
class Remembering(Protocol):
    """A callback with a state that a resumed run must have: counters, patience. `state` gives JSON,
    and is asked when a checkpoint is saved, after the evaluation of that step; `restore` is called
    before training goes on. `name` is its key in `luthier.json`."""

    name: str

    def state(self) -> dict[str, Any]: ...

    def restore(self, state: dict[str, Any]) -> None: ...


@dataclass(frozen=True)
class Checkpoint:
    path: Path
    step: int

    @cached_property
    def memory(self) -> dict[str, Any]:
        """`luthier.json`: `total` steps, `batch` (trainer.plan.compute.Compute.batch),
        `evaluation_due`, and the callbacks' states by name."""
        return foreign_json.read_object(self.path / MEMORY_FILE, lenient=True)

    def intact(self) -> bool:
        """Whether every file is there as it was saved. Reads all of it."""
        try:
            files = foreign_json.read_object(self.path / COMPLETE)["files"]
            return bool(files) and all(
                _size_and_hash(self.path / name) == [size, hashed]
                for name, (size, hashed) in files.items()
            )
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return False


def complete_checkpoints(run: Path) -> list[Checkpoint]:
    """Those with a COMPLETE, oldest first."""
    return [Checkpoint(path, step) for step, path in RunFolder(run).complete_checkpoints()]


def newest_intact(run: Path) -> Checkpoint | None:
    """What a run goes on from."""
    return next(
        (checkpoint for checkpoint in reversed(complete_checkpoints(run)) if checkpoint.intact()),
        None,
    )


def seal(saved: Path, run: Path, step: int) -> Checkpoint:
    """Make a checkpoint of what was saved. One of the same step that is there already makes
    room."""
    target = RunFolder(run).checkpoint(step)
    files = {str(path.relative_to(saved)): _size_and_hash(path) for path in _files(saved)}
    for path in _files(saved):
        flush(path)
    for folder in (path for path in saved.rglob("*") if path.is_dir()):
        flush(folder)
    flush(saved)
    if target.exists():
        discard(target)
    saved.rename(target)
    flush(target.parent)
    write_json(target / COMPLETE, {"files": files})
    flush(target)
    return Checkpoint(target, step)


def discard(path: Path) -> None:
    """Delete a checkpoint, from its first moment on no longer one."""
    doomed = path.parent / SAVING_FOLDER / f"removing-{path.name}"
    doomed.parent.mkdir(exist_ok=True)
    shutil.rmtree(doomed, ignore_errors=True)
    path.rename(doomed)
    shutil.rmtree(doomed)


def sweep(run: Path) -> None:
    """Delete what an interrupted save or removal has left."""
    folder = RunFolder(run)
    shutil.rmtree(folder.checkpoints / SAVING_FOLDER, ignore_errors=True)
    for _, path in folder.saved_steps():
        if not (path / COMPLETE).is_file():
            shutil.rmtree(path, ignore_errors=True)


def superfluous(checkpoints: list[Checkpoint], keep: int, best: int | None) -> list[Checkpoint]:
    """All but the last `keep` and the one of step `best`."""
    return [checkpoint for checkpoint in checkpoints[:-keep] if checkpoint.step != best]


def _files(folder: Path) -> Iterator[Path]:
    return (path for path in sorted(folder.rglob("*")) if path.is_file())


def _size_and_hash(path: Path) -> list[Any]:
    with path.open("rb") as file:
        hashed = hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()
        return [file.tell(), hashed]
