"""What would fit where: a recipe's memory with other bits, checkpointing, batches and context
lengths, against the usual cards. Light."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

from jobs.gpus import gpus
from models import registry
from models.folder import ModelFolder
from trainer.plan.autotune import needed
from trainer.plan.compute import Compute
from trainer.plan.engines import choose
from trainer.plan.memory.predict import Setting, predict
from trainer.plan.memory.shape import ModelShape, read_shape
from trainer.plan.plan import Plan
from trainer.recipe import Recipe

CARDS = (8, 12, 16, 24, 48, 80, 141)  # gigabytes, as they are sold
CONTEXTS = (512, 2048, 8192, 32_768)
_LARGEST_BATCH = 64


@dataclass(frozen=True)
class Row:
    """One kind of base and checkpointing."""

    compute: Compute
    fits: dict[int, int]
    """By card the largest micro-batch of conversations of the recipe's length, 0 if not one
    fits."""
    peaks: dict[tuple[int, int], int]
    """By (conversations, length) the predicted peak in bytes."""
    needs: dict[tuple[int, int], int]
    """By (conversations, length) the bytes that a card must have."""


@dataclass(frozen=True)
class Table:
    engine: str
    """The plan's, or on a machine without a GPU the one that such a machine would take."""
    here: int | None
    """The memory of the GPU at hand."""
    rows: list[Row]
    """None where the model's config does not tell its shape."""


def card() -> int | None:
    """The memory of the GPU at hand, the largest if there are several."""
    return max((gpu.total for gpu in gpus()), default=None)


def what_if(recipe: Recipe, plan: Plan) -> Table:
    """The table for a recipe and its plan."""
    directory, here = registry.described_directory(plan.model_directory), card()
    shape, both = read_shape(directory), {"trl", "unsloth"}
    engine = (
        plan.engine
        if here is not None
        else choose(recipe, directory, ModelFolder(directory).config, "gpu", both)[0]
    )
    return Table(
        engine, here, [] if shape is None else rows(recipe, shape, engine, plan.compute, here)
    )


def bytes_of(gigabytes: int) -> int:
    """What any card sold as one of so many gigabytes has at least: some have as many GiB, those
    with ECC less (a T4 15, an L4 22.5)."""
    return gigabytes * 10**9


def batches(recipe: Recipe) -> list[tuple[int, int]]:
    """(conversations, length), by length: the recipe's own in growing numbers, others one at a
    time."""
    length = recipe.train.max_length
    contexts = [(1, context) for context in CONTEXTS if context != length]
    return sorted(
        [(1, length), (4, length), (8, length), *contexts], key=lambda batch: (batch[1], batch[0])
    )


def rows(
    recipe: Recipe, shape: ModelShape, engine: str, compute: Compute, here: int | None
) -> list[Row]:
    """For padding-free batches of a whole model; optimizer and attention are those of `compute`.
    `here`: the memory of the GPU at hand, to be among the cards."""
    cards = [*map(bytes_of, CARDS), *([] if here is None else [here])]
    checkpointings = (
        ("none", "standard", "unsloth") if engine == "unsloth" else ("none", "standard")
    )
    table = []
    for bits, checkpointing in itertools.product(_bits(recipe), checkpointings):
        kind = Compute(
            base_bits=bits,
            gradient_checkpointing=checkpointing,
            optimizer=compute.optimizer,
            attention=compute.attention,
            padding_free=True,
        )
        setting = Setting.of(recipe, engine, kind)
        fits = {size: _largest(shape, setting, recipe.train.max_length, size) for size in cards}
        peaks = {batch: _peak(shape, setting, *batch) for batch in batches(recipe)}
        needs = {batch: needed(peak, engine) for batch, peak in peaks.items()}
        table.append(Row(kind, fits, peaks, needs))
    return table


def _bits(recipe: Recipe) -> tuple[int, ...]:
    return (32, 16) if recipe.train.method == "full" else (16, 8, 4)


def _peak(shape: ModelShape, setting: Setting, conversations: int, length: int) -> int:
    return predict(shape, setting.holding(conversations * length, conversations)).peak


def _largest(shape: ModelShape, setting: Setting, length: int, size: int) -> int:
    """By halves: a peak grows with the batch."""
    low, high = 0, _LARGEST_BATCH
    while low < high:
        middle = (low + high + 1) // 2
        fits = needed(_peak(shape, setting, middle, length), setting.engine) <= size
        low, high = (middle, high) if fits else (low, middle - 1)
    return low
