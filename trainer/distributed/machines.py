"""What ranks on several machines must have alike, whose folders are their own: settings, samples,
the checkpoint to go on from."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

from jobs.luthier_error import LuthierError
from models.run_folder import COMPLETE, RunFolder
from trainer.distributed import ranks
from trainer.plan.plan import Plan
from trainer.run.checkpoints import Checkpoint

_CHUNK = 64 << 20


def agreed(plan: Plan) -> Plan:
    """The plan with what the first rank's says of how to compute: what each machine has learned of
    memory is its own."""
    engine, compute = ranks.from_first((plan.engine, plan.compute))
    return replace(plan, engine=engine, compute=compute)


def check_alike(files: list[Path]) -> None:
    """LuthierError unless every rank's files are those of the first one."""
    hashes = ranks.gathered([_hash(path) for path in files])
    other = next((number for number, hashed in enumerate(hashes) if hashed != hashes[0]), None)
    if other is not None:
        message = f"Rank {other} prepared other samples than rank 0."
        raise LuthierError(
            "The machines have different data",
            message,
            "Recipe, data, model and Luthier's version must be the same on every machine.",
        )


def on_each(checkpoint: Checkpoint, run: Path) -> Checkpoint:
    """The first rank's checkpoint, sent to the machines that do not have it: below the folder that
    the run has there."""
    target = RunFolder(run).checkpoint(checkpoint.step)
    writes = ranks.local() == 0 and not ranks.first()
    names = (
        sorted(path.name for path in checkpoint.path.iterdir() if path.name != COMPLETE)
        if ranks.first()
        else []
    )
    for name in ranks.from_first([*names, COMPLETE]):
        if writes:
            target.mkdir(parents=True, exist_ok=True)
            (target / name).write_bytes(b"")
        source = (checkpoint.path / name).open("rb") if ranks.first() else None
        while chunk := ranks.from_first(b"" if source is None else source.read(_CHUNK)):
            if writes:
                with (target / name).open("ab") as file:
                    file.write(chunk)
        if source is not None:
            source.close()
    ranks.gathered(None)
    return Checkpoint(target, checkpoint.step)


def _hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "blake2b").hexdigest()
