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
from jobs.errors import LuthierError
from jobs.files import write_json
from jobs.foreign_json import Damaged
from jobs.gpus import gpus
from jobs.home import home
from jobs.locks import Lock
from jobs.worker import WorkerContext
from models import events, foreign

REPAIRS_FILE = "repairs.json"
# What the libraries say: CUDA's allocator, the CUDA driver, cuBLAS, torch's allocator on the CPU.
_OUT_OF_MEMORY = re.compile(
    r"out of memory|CUBLAS_STATUS_ALLOC_FAILED|DefaultCPUAllocator: (?:not enough|can't allocate)"
    r" memory|unable to allocate",
    re.IGNORECASE,
)
Answer = TypeVar("Answer")


@dataclass(frozen=True)
class Batch:
    """How a global batch is computed: `micro_batch` conversations at a time on each GPU,
    `accumulation` times. `gradient_checkpointing` is "none" or the name of a kind."""

    micro_batch: int
    accumulation: int
    gradient_checkpointing: str = "none"

    def smaller(self, checkpointing: str) -> Batch | None:
        """The next that takes less memory for the same global batch; None if there is none.
        `checkpointing`: the engine's thriftiest."""
        if self.micro_batch > 1:
            size = largest_divisor(self.micro_batch * self.accumulation, self.micro_batch // 2)
            return replace(
                self, micro_batch=size, accumulation=self.micro_batch * self.accumulation // size
            )
        return (
            None
            if self.gradient_checkpointing == checkpointing
            else replace(self, gradient_checkpointing=checkpointing)
        )


@dataclass(frozen=True)
class Shape:
    """What decides how much memory a micro-batch takes: a run that is at least as long and as wide
    takes at least as much."""

    model: str
    engine: str
    device: str
    max_length: int
    rank: int


class OutOfMemory(Exception):
    """A rank's memory ran out in the step after `step`, with `batch`; `smaller` comes next, if
    anything does."""

    def __init__(self, step: int, reason: str, batch: Batch, smaller: Batch | None) -> None:
        super().__init__(reason)
        self.step, self.reason, self.batch, self.smaller = step, reason, batch, smaller

    def to_json(self) -> dict[str, Any]:
        smaller = None if self.smaller is None else asdict(self.smaller)
        return {
            "step": self.step,
            "reason": self.reason,
            "batch": asdict(self.batch),
            "smaller": smaller,
        }


def largest_divisor(number: int, limit: int) -> int:
    return next(size for size in range(min(number, limit), 0, -1) if number % size == 0)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether memory was what was lacking, on the GPU or on the CPU."""
    # torch's, without importing it
    named = any(kind.__name__ == "OutOfMemoryError" for kind in type(error).__mro__)
    return (
        named
        or isinstance(error, MemoryError)
        or (isinstance(error, RuntimeError) and bool(_OUT_OF_MEMORY.search(str(error))))
    )


def device_name() -> str:
    """The first GPU, or the CPU, with its memory."""
    found = gpus()
    if found:
        return f"{found[0].name}, {found[0].total / 1e9:.0f} GB"
    return f"cpu, {os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE') / 1e9:.0f} GB"


@dataclass(frozen=True)
class _Repair:
    """What `repairs.json` says of one run: `ran_out` was too much for its shape, `batch` came next.
    `t` is in unix seconds."""

    shape: Shape
    ran_out: Batch
    batch: Batch
    run: str
    t: float


def tell(context: WorkerContext, step: int, reason: str, before: Batch, after: Batch) -> None:
    """The event of a repair."""
    what = "micro_batch" if after.micro_batch < before.micro_batch else "gradient_checkpointing"
    event = events.Repair(
        step=step,
        what=what,
        reason=reason,
        micro_batch=after.micro_batch,
        accumulation=after.accumulation,
        gradient_checkpointing=after.gradient_checkpointing,
    )
    events.tell(context, event)


def remember(shape: Shape, ran_out: Batch, batch: Batch, run: str) -> None:
    """Write down that `ran_out` was too much for this shape and `batch` comes next. A smaller one
    of the same shape takes its place."""
    with _locked():
        others = [entry for entry in _entries() if entry.shape != shape]
        entry = _Repair(shape, ran_out, batch, run, round(time.time()))
        write_json(home() / REPAIRS_FILE, [asdict(one) for one in (*others, entry)])


def recall(shape: Shape, batch: Batch) -> tuple[Batch, str]:
    """The batch that the memory of earlier runs allows, and why in words ("" if nothing speaks
    against the one asked for)."""
    why = ""
    for entry in _entries():
        known = entry.shape
        same = (known.model, known.engine, known.device) == (
            shape.model,
            shape.engine,
            shape.device,
        )
        if not same or known.max_length > shape.max_length or known.rank > shape.rank:
            continue
        fits = entry.batch
        size = largest_divisor(
            batch.micro_batch * batch.accumulation, min(batch.micro_batch, fits.micro_batch)
        )
        checkpointing = (
            batch.gradient_checkpointing
            if fits.gradient_checkpointing == "none"
            else fits.gradient_checkpointing
        )
        if (size, checkpointing) == (batch.micro_batch, batch.gradient_checkpointing):
            continue
        batch = Batch(size, batch.micro_batch * batch.accumulation // size, checkpointing)
        also = "" if fits.gradient_checkpointing == "none" else " and gradient checkpointing"
        why = (
            f"micro-batch {size}{also}, because run {entry.run} ran out of memory at"
            f" {entry.ran_out.micro_batch}"
        )
    return batch, why


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


def nothing_left(reason: str, max_length: int, rank: int) -> LuthierError:
    """The error when a single conversation at a time, with gradient checkpointing, is still too
    much."""
    return LuthierError(
        "Out of memory",
        f"One conversation at a time with gradient checkpointing is still too much: {reason}",
        f"Lower train.max_length (now {max_length}) or lora.r (now {rank}), choose a smaller model,"
        " or free memory that others use.",
    )


def first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:300]


def _entries() -> list[_Repair]:
    """Those that can be read, each for itself."""
    try:
        entries = foreign_json.read(home() / REPAIRS_FILE)
    except (FileNotFoundError, Damaged):
        return []
    found = []
    for entry in entries if isinstance(entries, list) else []:
        with suppress(Damaged):
            found.append(foreign.convert(entry, _Repair, REPAIRS_FILE))
    return found


@contextmanager
def _locked() -> Iterator[None]:
    home().mkdir(parents=True, exist_ok=True)
    lock = Lock(home() / "repairs.lock")
    lock.acquire(wait=True)
    try:
        yield
    finally:
        lock.release()
