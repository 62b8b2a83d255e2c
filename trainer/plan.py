"""The plan: what a recipe comes to on this machine, worked out and checked before anything runs."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from typing import Any

from jobs.errors import LuthierError
from jobs.gpus import gpus
from models import registry
from trainer.data.outlook import look
from trainer.data.policies import table
from trainer.recipe import Recipe

# Conversations computed at once where the recipe does not say: two cores gain nothing from more.
_CPU_MICRO_BATCH = 8
_GPU_MICRO_BATCH = 8


@dataclass(frozen=True)
class Plan:
    """`steps` are optimizer steps; `conversations` counts all, `heldout` of them are kept out of training. These three are estimates where
    `exact` is False, and 0 where nothing can be told before the run. `formats` say what the files are in and why, `policies` what becomes
    of odd rows, and `met` how many of them a first look has found."""

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
    exact: bool = True
    formats: list[dict[str, Any]] = field(default_factory=list)
    policies: list[dict[str, Any]] = field(default_factory=list)
    met: dict[str, int] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def make_plan(recipe: Recipe) -> Plan:
    """Check the model and the first rows of the data, and work the rest out. LuthierError at the first thing that is wrong."""
    directory = registry.resolve(recipe.model)
    data = look(recipe.data_settings)
    heldout = recipe.heldout.count(data.conversations)
    trained = max(0, data.seen_each_epoch - heldout)
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
        conversations=data.conversations,
        heldout=heldout,
        global_batch=recipe.train.global_batch,
        micro_batch=micro_batch,
        accumulation=accumulation,
        epochs=recipe.train.epochs,
        steps=step_count(trained, recipe.train.global_batch, recipe.train.epochs) if data.conversations else 0,
        slots=["gpu"] if on_gpu else ["cpu"],
        exact=data.exact,
        formats=data.formats,
        policies=table(recipe.policy),
        met=data.met,
    )


def step_count(conversations: int, global_batch: int, epochs: float) -> int:
    """Optimizer steps; the last batch of an epoch may be smaller."""
    return max(1, math.ceil(math.ceil(conversations / global_batch) * epochs))


def largest_divisor(number: int, limit: int) -> int:
    return next(size for size in range(min(number, limit), 0, -1) if number % size == 0)
