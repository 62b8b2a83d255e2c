"""This machine in a few words: what it has, what can be trained on it, and what is missing."""

from __future__ import annotations

import os
from dataclasses import dataclass

from jobs.gpus import gpus
from jobs.memory import main_memory
from models.environment import quick_checks
from trainer.plan.compute import Compute
from trainer.plan.memory.cards import card, rows
from trainer.plan.memory.shape import Linear, ModelShape
from trainer.recipe import Recipe

_BUILTIN_NEEDS = 4e9  # bytes of main memory, as doctor says
# by their billions of weights: width, inner width, layers, width of the keys, vocabulary
_USUAL = {
    1: (2048, 8192, 16, 512, 128_256),
    3: (3072, 8192, 28, 1024, 128_256),
    8: (4096, 14_336, 32, 1024, 128_256),
    14: (5120, 13_824, 48, 1024, 152_064),
    32: (5120, 27_648, 64, 1024, 152_064),
    70: (8192, 28_672, 80, 1024, 128_256),
}


@dataclass(frozen=True)
class Machine:
    has: str
    fits: str
    missing: tuple[str, ...]
    """What Luthier needs and is not there: a name and what to do, each."""


def this_machine() -> Machine:
    """Light, but slow enough for a thread."""
    missing = tuple(
        f"{check.name}: `luthier doctor --fix` shows what helps"
        for check in quick_checks()
        if check.ok is False
    )
    return Machine(_has(), _fits(card()), missing)


def _has() -> str:
    cores = len(os.sched_getaffinity(0))
    present = gpus()
    names = ", ".join(f"{gpu.name} {gpu.total / 1e9:.0f} GB" for gpu in present)
    parts = [
        "1 core" if cores == 1 else f"{cores} cores",
        f"{main_memory() / 1e9:.0f} GB of memory",
        names or "no GPU",
    ]
    return ", ".join(parts)


def _fits(memory: int | None) -> str:
    """The largest usual model of which one conversation of the usual length fits, by LoRA on the
    whole base and on a 4-bit one."""
    if memory is None:
        fits = main_memory() >= _BUILTIN_NEEDS
        return f"The built-in 135M model {'fits' if fits else 'needs 4 GB of memory'}."
    largest = {
        bits: max((size for size in _USUAL if _fits_on(size, bits, memory)), default=0)
        for bits in (16, 4)
    }
    words = {16: "LoRA", 4: "QLoRA"}
    parts = [f"{words[bits]} up to {size}B" for bits, size in largest.items() if size]
    return f"One GPU takes {', '.join(parts)}." if parts else "The built-in 135M model fits."


def _fits_on(size: int, bits: int, memory: int) -> bool:
    table = rows(Recipe(data=["x"]), _shape(size), "unsloth", Compute(), memory)
    return any(row.fits[memory] for row in table if row.compute.base_bits == bits)


def _shape(size: int) -> ModelShape:
    hidden, inner, layers, keys, vocabulary = _USUAL[size]
    of_layer = (
        Linear("q_proj", hidden, hidden),
        Linear("k_proj", hidden, keys),
        Linear("v_proj", hidden, keys),
        Linear("o_proj", hidden, hidden),
        Linear("gate_proj", hidden, inner),
        Linear("up_proj", hidden, inner),
        Linear("down_proj", inner, hidden),
    )
    return ModelShape(
        family="llama",
        hidden=hidden,
        inner=inner,
        layers=layers,
        queries=hidden,
        keys=keys,
        vocabulary=vocabulary,
        linears=of_layer * layers,
        outside=2 * vocabulary * hidden,
    )
