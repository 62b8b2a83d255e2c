"""Start a merge as a job."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from jobs.job import Job, submit
from jobs.locks import holder
from jobs.luthier_error import LuthierError
from jobs.spec import Spec
from models.adapters import other_base, read_adapter
from models.certificate import order_for as certificate_of
from models.folder import ModelFolder
from models.merge.disk_space import LOCK, check_room, free_bytes, partial_directory
from models.merge.plan import DTYPES, plan_merge
from models.merge.planner import Into
from models.runs import Run

_DATED, _UNIQUE = len("20261122-1530-"), len("-7f3a")  # what a run's id has around its name
_GPU_BYTES = 2 << 30  # what the arithmetic takes of a GPU, its libraries included

Device = Literal["cpu", "cuda"]


@dataclass(frozen=True)
class MergeSettings:
    """A merge job's orders. `dtype` is a key of DTYPES, None for the base's own types.

    `stop_ids` are the tokens that training ended answers with; None: to be read off the chat
    template. `run` is the id of the run that the adapter is of. `replace`: a directory at `out`
    gives way once the new one is whole. `into` "closer": whichever of the two is found closer to
    the trained model on the held-out turns in the file `samples`.
    """

    base: str
    adapter: str
    out: str
    into: Into | Literal["closer"] = "base"
    dtype: str | None = None
    device: Device = "cpu"
    run: str | None = None
    stop_ids: list[int] | None = None
    replace: bool = False
    samples: str | None = None

    @property
    def ways(self) -> list[Into]:
        """The merges that are made."""
        return ["base", "dequantised"] if self.into == "closer" else [self.into]


def order_of(merge: Job) -> MergeSettings:
    """What a merge's job was started with."""
    return MergeSettings(**merge.spec.settings)


@dataclass(frozen=True)
class Outlook:
    """What a merge will take, in bytes: of the model that it leaves, of everything while it is
    made, and what is free there. `note` is what a person should know before."""

    model: int
    at_once: int
    free: int
    note: str = ""


def merge_settings(run: Run, **changes: Any) -> MergeSettings:
    """The merge of a run's adapter into its folder, but for the changes. LuthierError if it has no
    adapter."""
    usual = {
        "base": str(run.base),
        "adapter": str(run.adapter().absolute()),
        "out": str(run.folder.merged),
        "run": run.id,
        "stop_ids": run.trained_stops,
        "samples": str(run.folder.heldout_samples),
    }
    return MergeSettings(**{**usual, **changes})


def check_merge(settings: MergeSettings) -> Outlook:
    """Check what can be checked from headers. LuthierError for what cannot be merged, or has no
    room, or if `out` is taken."""
    out = Path(settings.out)
    if out.exists() and not settings.replace:
        raise LuthierError(
            "Something is already there",
            f"{out} exists.",
            "Choose another name or --out, or add --force to replace it.",
        )
    if holder(partial_directory(out) / LOCK) is not None:
        raise LuthierError(
            "Another merge is writing there",
            f"Another job is writing {out}.",
            "`luthier runs --all` shows it.",
        )
    if settings.dtype is not None and settings.dtype not in DTYPES:
        raise LuthierError(
            "No such type",
            f"{settings.dtype!r} is not one of {', '.join(DTYPES)}.",
            "Leave it out to keep the base's type.",
        )
    bits = ModelFolder(Path(settings.adapter)).card.base_bits
    if settings.into != "base" and bits not in (4, None):
        message = (
            f"The adapter was trained on a base in {bits} bits: it has never seen 4-bit values."
        )
        raise LuthierError(
            "Not a QLoRA adapter",
            message,
            "Leave out --into: the adapter then merges into the base as it is.",
        )
    if settings.into == "closer" and not (settings.samples and Path(settings.samples).is_file()):
        hint = (
            "Name a file with --samples (`luthier data tokens` writes one), or choose --into base"
            " or --into dequantised."
        )
        raise LuthierError(
            "Nothing to measure on",
            f"There are no held-out turns{f' at {settings.samples}' if settings.samples else ''}.",
            hint,
        )
    sizes = [
        plan_merge(
            Path(settings.base), Path(settings.adapter), into=into, dtype=settings.dtype
        ).written_bytes
        for into in settings.ways
    ]
    check_room(out, sum(sizes))
    note = other_base(read_adapter(Path(settings.adapter)), Path(settings.base))
    return Outlook(max(sizes), sum(sizes), free_bytes(out), note)


def start_merge(settings: MergeSettings, run: Run | None = None, *, certify: bool = False) -> Job:
    """Check it, and start the job. `run` is the one that the adapter is of: if it is a run that is
    certified, or `certify` says so, it is certified again once the merge is done."""
    check_merge(settings)
    slots = ["gpu"] if settings.device == "cuda" else []
    gpu_bytes = _GPU_BYTES if settings.device == "cuda" else 0
    name = settings.run[_DATED:-_UNIQUE] if settings.run else Path(settings.out).name
    then = [certificate_of(run)] if run is not None and (certify or run.is_certified) else []
    return submit(
        Spec(
            "merge",
            f"merge-{name}",
            "models.merge_worker",
            asdict(settings),
            slots,
            gpu_bytes,
            then=then,
            grace_seconds=30.0,
        )
    )
