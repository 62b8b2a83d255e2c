"""Which batch comes next when memory has run out, and what is remembered of it."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.home import home
from trainer.plan import repair
from trainer.plan.compute import Compute
from trainer.plan.repair import (
    Shape,
    in_smaller_batches,
    is_out_of_memory,
    recall,
    remember,
    smaller,
)

SHAPE = Shape("base", "trl", "NVIDIA H200, 151 GB", 2048, 16)


@pytest.fixture(autouse=True)
def luthier_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LUTHIER_HOME", str(tmp_path))


class OutOfMemoryError(RuntimeError):
    """As torch names its own."""


MEMORY = [
    OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
    RuntimeError("CUDA error: out of memory"),
    RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    RuntimeError(
        "[enforce fail at alloc_cpu.cpp:117] err == 0. DefaultCPUAllocator: can't allocate memory:"
        " you tried to allocate 8 bytes."
    ),
    RuntimeError(
        "[enforce fail at CPUAllocator.cpp:64] . DefaultCPUAllocator: not enough memory: you tried"
        " to allocate 8 bytes."
    ),
    MemoryError(),
]
OTHERS = [
    RuntimeError("CUDA error: device-side assert triggered"),
    ValueError("out of memory"),
    OSError(28, "No space left on device"),
]


@pytest.mark.parametrize("error", MEMORY)
def test_memory_errors(error: Exception) -> None:
    assert is_out_of_memory(error)
    assert repair.first_line(error)


@pytest.mark.parametrize("error", OTHERS)
def test_other_errors(error: Exception) -> None:
    assert not is_out_of_memory(error)


def computed(micro_batch: int, accumulation: int, gradient_checkpointing: str = "none") -> Compute:
    return Compute(
        micro_batch=micro_batch,
        accumulation=accumulation,
        gradient_checkpointing=gradient_checkpointing,
        attention="flex",  # whatever else was decided stays
    )


@given(st.integers(1, 64), st.integers(1, 64))
def test_smaller_batches_keep_the_global_one_and_come_to_an_end(
    micro_batch: int, accumulation: int
) -> None:
    batch: Compute | None = computed(micro_batch, accumulation)
    sizes = []
    while batch is not None:
        assert batch.micro_batch * batch.accumulation == micro_batch * accumulation
        sizes.append((batch.micro_batch, batch.gradient_checkpointing))
        assert batch.gradient_checkpointing == (
            "standard" if len(sizes) > 1 and sizes[-2] == (1, "none") else "none"
        )
        batch = smaller(batch, "standard")
    assert sizes[-1] == (1, "standard")
    assert all(later[0] <= max(1, earlier[0] // 2) for earlier, later in itertools.pairwise(sizes))


def test_it_is_remembered_for_runs_that_take_at_least_as_much() -> None:
    remember(SHAPE, computed(8, 2), computed(4, 4), "first")
    remember(SHAPE, computed(4, 4), computed(2, 8), "second")
    assert recall(SHAPE, computed(8, 2)) == (
        computed(2, 8),
        "micro-batch 2, because run second ran out of memory at 4",
    )
    assert recall(SHAPE, computed(6, 2))[0] == computed(2, 6)
    assert recall(SHAPE, computed(1, 3)) == (computed(1, 3), "")
    assert recall(SHAPE, computed(5, 1))[0] == computed(1, 5)
    longer, shorter = (
        Shape("base", "trl", SHAPE.device, 4096, 32),
        Shape("base", "trl", SHAPE.device, 1024, 16),
    )
    assert recall(longer, computed(8, 2))[0] == computed(2, 8)
    for other in (
        shorter,
        Shape("other", "trl", SHAPE.device, 4096, 16),
        Shape("base", "trl", "cpu, 8 GB", 4096, 16),
    ):
        assert recall(other, computed(8, 2)) == (computed(8, 2), "")


def test_gradient_checkpointing_is_remembered() -> None:
    remember(SHAPE, computed(1, 4), computed(1, 4, gradient_checkpointing="standard"), "tight")
    batch, why = recall(SHAPE, computed(1, 4))
    assert batch.gradient_checkpointing == "standard"
    assert (
        why == "micro-batch 1 and gradient checkpointing, because run tight ran out of memory at 1"
    )


def test_a_broken_memory_is_an_empty_one() -> None:
    home().mkdir(exist_ok=True)
    (home() / repair.REPAIRS_FILE).write_text('[{"shape": ')
    assert recall(SHAPE, computed(8, 2)) == (computed(8, 2), "")
    remember(SHAPE, computed(8, 2), computed(4, 4), "run")
    (entry,) = json.loads((home() / repair.REPAIRS_FILE).read_text())
    assert entry["ran_out"] == {
        "micro_batch": 8,
        "accumulation": 2,
        "gradient_checkpointing": "none",
    }


def test_in_smaller_batches() -> None:
    told: list[int] = []
    freed: list[int] = []

    def work(size: int) -> str:
        if size > 2:
            raise MEMORY[0]
        return f"done by {size}"

    assert (
        in_smaller_batches(
            work, 12, lambda size, reason: told.append(size), lambda: freed.append(1)
        )
        == "done by 1"
    )
    assert told == [6, 3, 1]
    assert len(freed) == 3
    with pytest.raises(OutOfMemoryError):
        in_smaller_batches(lambda size: work(9), 4, lambda size, reason: None, lambda: None)
