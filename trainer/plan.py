"""The plan: what a recipe comes to on this machine, worked out and checked before anything runs."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from jobs.errors import LuthierError
from jobs.gpus import gpus
from models import registry
from models.conversations import read_conversations
from trainer.recipe import Recipe

# Conversations computed at once where the recipe does not say: two cores gain nothing from more.
_CPU_MICRO_BATCH = 8
_GPU_MICRO_BATCH = 8


@dataclass(frozen=True)
class Plan:
    """`steps` are optimizer steps; `conversations` counts all, `heldout` of them are kept out of training."""

    model: str
    model_directory: str
    device: str
    engine: str
    conversations: int
    heldout: int
    global_batch: int
    micro_batch: int
    accumulation: int
    epochs: float
    steps: int
    slots: list[str]

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def make_plan(recipe: Recipe) -> Plan:
    """Check the model and every row of the data, and work the rest out. LuthierError at the first thing that is wrong."""
    directory = registry.resolve(recipe.model)
    count = sum(1 for entry in recipe.data for _ in read_conversations(Path(entry)))
    heldout = heldout_count(recipe, count)
    on_gpu = bool(gpus())
    micro_batch = recipe.train.micro_batch or largest_divisor(recipe.train.global_batch, _GPU_MICRO_BATCH if on_gpu else _CPU_MICRO_BATCH)
    if recipe.train.global_batch % micro_batch:
        message = f"train.global_batch {recipe.train.global_batch} is no multiple of train.micro_batch {micro_batch}."
        raise LuthierError("Batches do not add up", message, "Leave micro_batch out, or choose a divisor.")
    accumulation = recipe.train.global_batch // micro_batch
    return Plan(
        model=recipe.model,
        model_directory=str(directory),
        device="gpu" if on_gpu else "cpu",
        engine="trl",
        conversations=count,
        heldout=heldout,
        global_batch=recipe.train.global_batch,
        micro_batch=micro_batch,
        accumulation=accumulation,
        epochs=recipe.train.epochs,
        steps=step_count(count - heldout, recipe.train.global_batch, recipe.train.epochs),
        slots=["gpu"] if on_gpu else ["cpu"],
    )


def heldout_count(recipe: Recipe, conversations: int) -> int:
    """How many conversations are held out; never more than a quarter, so that small data is still mostly trained on."""
    if recipe.heldout.share == 0.0 or recipe.heldout.at_most == 0:
        return 0
    wanted = round(recipe.heldout.share * conversations)
    return min(max(wanted, recipe.heldout.at_least), recipe.heldout.at_most, conversations // 4)


def step_count(conversations: int, global_batch: int, epochs: float) -> int:
    """Optimizer steps; the last batch of an epoch may be smaller."""
    return max(1, math.ceil(math.ceil(conversations / global_batch) * epochs))


def largest_divisor(number: int, limit: int) -> int:
    return next(size for size in range(min(number, limit), 0, -1) if number % size == 0)
