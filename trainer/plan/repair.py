"""Running out of memory, repaired without changing the experiment, and remembered for the next run
of that shape. Light.

The micro-batch is halved and the accumulation doubled, so that the global batch stays what it is:
the loss of a step is a sum over its tokens divided by their number, however they are split. Then
gradient checkpointing. Then nothing is left but an error.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from typing import Any, TypeVar

from jobs import foreign_json
from jobs.files import write_json
from jobs.foreign_json import Damaged
from jobs.gpus import gpus
from jobs.home import home
from jobs.locks import Lock
from jobs.luthier_error import LuthierError
from jobs.worker import WorkerContext
from models import events, foreign
from trainer.plan.compute import Batch, Compute, largest_divisor

REPAIRS_FILE = "repairs.json"
# What the libraries say: CUDA's allocator, the CUDA driver, cuBLAS, torch's allocator on the CPU.
_OUT_OF_MEMORY = re.compile(
    r"out of memory|CUBLAS_STATUS_ALLOC_FAILED|DefaultCPUAllocator: (?:not enough|can't allocate)"
    r" memory|unable to allocate",
    re.IGNORECASE,
)
Answer = TypeVar("Answer")


@dataclass(frozen=True)
class Shape:
    """What decides how much memory a micro-batch takes: a run that is at least as long and as wide
    takes at least as much."""

    model: str
    engine: str
    device: str
    max_length: int
    rank: int

    def is_within(self, shape: Shape) -> bool:
        """Whether a run of that shape takes at least as much."""
        return (
            (self.model, self.engine, self.device) == (shape.model, shape.engine, shape.device)
            and self.max_length <= shape.max_length
            and self.rank <= shape.rank
        )


class OutOfMemory(Exception):
    """A rank's memory ran out in the step after `step`, computed as `compute`; `smaller` comes
    next, if anything does."""

    def __init__(self, step: int, reason: str, compute: Compute, smaller: Compute | None) -> None:
        super().__init__(reason)
        self.step, self.reason, self.compute, self.smaller = step, reason, compute, smaller

    def to_json(self) -> dict[str, Any]:
        return {
            "step": self.step,
            "reason": self.reason,
            "batch": self.compute.batch,
            "smaller": None if self.smaller is None else self.smaller.batch,
        }


def is_out_of_memory(error: BaseException) -> bool:
    """Whether memory was what was lacking, on the GPU or on the CPU."""
    # torch's, without importing it
    is_torchs = any(kind.__name__ == "OutOfMemoryError" for kind in type(error).__mro__)
    return (
        is_torchs
        or isinstance(error, MemoryError)
        or (isinstance(error, RuntimeError) and bool(_OUT_OF_MEMORY.search(str(error))))
    )


def device_name() -> str:
    """The first GPU, or the CPU, with its memory."""
    present = gpus()
    if present:
        return f"{present[0].name}, {present[0].total / 1e9:.0f} GB"
    return f"cpu, {os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE') / 1e9:.0f} GB"


@dataclass(frozen=True)
class _Repair:
    """What `repairs.json` says of one run."""

    shape: Shape
    ran_out: Batch
    """What was too much for its shape."""
    batch: Batch
    """What came next."""
    run: str
    t: float
    """In unix seconds."""


def smaller(compute: Compute, checkpointing: str) -> Compute | None:
    """The next that takes less memory for the same global batch; None if there is none.
    `checkpointing`: the engine's thriftiest."""
    if compute.micro_batch > 1:
        size = largest_divisor(compute.conversations, compute.micro_batch // 2)
        return compute.with_micro_batch(size)
    if compute.gradient_checkpointing == checkpointing:
        return None
    return replace(compute, gradient_checkpointing=checkpointing)


def repaired(
    context: WorkerContext,
    shape: Shape,
    step: int,
    reason: str,
    ran_out: Compute,
    next_compute: Compute | None,
) -> Compute:
    """What a run goes on with after its memory ran out: `next_compute`, told of and remembered.
    LuthierError if there is none."""
    if next_compute is None:
        raise _nothing_left(reason, shape.max_length, shape.rank)
    _tell(context, step, reason, ran_out, next_compute)
    remember(shape, ran_out, next_compute, context.job.id)
    return next_compute


def _tell(context: WorkerContext, step: int, reason: str, before: Compute, after: Compute) -> None:
    """The event of a repair."""
    changed = "micro_batch" if after.micro_batch < before.micro_batch else "gradient_checkpointing"
    events.tell_more(
        context,
        events.Repair,
        {"step": step, "what": changed, "reason": reason, **after.batch},
    )


def remember(shape: Shape, ran_out: Compute, smaller: Compute, run: str) -> None:
    """Write down that `ran_out` was too much for this shape and `smaller` comes next. A smaller one
    of the same shape takes its place."""
    with _locked():
        newest = _Repair(shape, ran_out.batch, smaller.batch, run, round(time.time()))
        kept = [entry for entry in _entries() if entry.shape != shape]
        write_json(home() / REPAIRS_FILE, [asdict(entry) for entry in (*kept, newest)])


def recall(shape: Shape, compute: Compute) -> tuple[Compute, str]:
    """What the memory of earlier runs allows, and why in words ("" if nothing speaks against what
    was asked for)."""
    why = ""
    for entry in _entries():
        if not entry.shape.is_within(shape):
            continue
        fits = entry.batch
        smaller = compute.with_micro_batch(
            largest_divisor(compute.conversations, min(compute.micro_batch, fits["micro_batch"]))
        )
        also = ""
        checkpointing = fits.get("gradient_checkpointing", "none")
        if checkpointing != "none":
            smaller = replace(smaller, gradient_checkpointing=checkpointing)
            also = " and gradient checkpointing"
        if smaller == compute:
            continue
        compute = smaller
        why = (
            f"micro-batch {compute.micro_batch}{also}, because run {entry.run} ran out of memory at"
            f" {entry.ran_out['micro_batch']}"
        )
    return compute, why


def in_smaller_batches(
    work: Callable[[int], Answer],
    size: int,
    tell: Callable[[int, str], None],
    free: Callable[[], None],
) -> Answer:
    """`work(size)`, with half the size each time that it runs out of memory. `tell` hears the new
    size and the reason."""
    while True:
        try:
            return work(size)
        except Exception as error:
            if not is_out_of_memory(error) or size == 1:
                raise
            reason = first_line(error)
        free()
        size //= 2
        tell(size, reason)


def _nothing_left(reason: str, max_length: int, rank: int) -> LuthierError:
    """The error when a single conversation at a time, with gradient checkpointing, is still too
    much."""
    return LuthierError(
        "Out of memory",
        "Even one conversation at a time with gradient checkpointing needs too much memory:"
        f" {reason}",
        f"Lower train.max_length (now {max_length}) or lora.r (now {rank}), choose a smaller"
        " model, or free memory that other programs use.",
    )


def first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:300]


def _entries() -> list[_Repair]:
    """Those that can be read, each for itself."""
    try:
        entries = foreign_json.read(home() / REPAIRS_FILE)
    except (FileNotFoundError, Damaged):
        return []
    readable = []
    for entry in entries if isinstance(entries, list) else []:
        with suppress(Damaged):
            readable.append(foreign.convert(entry, _Repair, REPAIRS_FILE))
    return readable


@contextmanager
def _locked() -> Iterator[None]:
    home().mkdir(parents=True, exist_ok=True)
    lock = Lock(home() / "repairs.lock")
    lock.acquire(wait=True)
    try:
        yield
    finally:
        lock.release()
