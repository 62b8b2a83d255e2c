"""Checkpoints that are whole or absent: saved under another name, flushed, renamed, marked COMPLETE last."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from jobs.worker import WorkerContext

COMPLETE = "COMPLETE"
SAVING_FOLDER = ".saving"


def checkpoint_directory(folder: Path, step: int) -> Path:
    return folder / "checkpoints" / f"step-{step:06d}"


class CheckpointCallback(TrainerCallback):
    """Moves what the Trainer saved under `checkpoints/.saving` to its own name, and tells of it."""

    def __init__(self, context: WorkerContext) -> None:
        self.context = context

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        saved = Path(str(args.output_dir)) / f"checkpoint-{state.global_step}"
        target = checkpoint_directory(self.context.directory, state.global_step)
        for path in saved.rglob("*"):
            if path.is_file():
                flush(path)
        saved.rename(target)
        (target / COMPLETE).touch()
        flush(target)
        self.context.event("checkpoint", step=state.global_step, path=str(target))


def flush(path: Path) -> None:
    """Have the kernel write a file or a folder's entries to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
