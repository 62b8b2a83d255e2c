"""The plan: what a recipe comes to on this machine, worked out and checked before anything runs."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from jobs.errors import LuthierError
from jobs.gpus import gpus
from models import registry
from trainer import engines, methods, repair
from trainer.data.outlook import look
from trainer.data.policies import table
from trainer.evaluation.cost import outlook
from trainer.memory import least_bytes, planned_bytes
from trainer.recipe import Recipe

# Conversations computed at once where the recipe does not say: two cores gain nothing from more.
_CPU_MICRO_BATCH = 8
_GPU_MICRO_BATCH = 8


@dataclass(frozen=True)
class Plan:
    """`steps` are optimizer steps; `conversations` counts all, `heldout` of them are kept out of training. These three are estimates where
    `exact` is False, and 0 where nothing can be told before the run. `formats` say what the files are in and why, `policies` what becomes
    of odd rows, and `met` how many of them a first look has found. `gpu_bytes` must be free on a GPU for the run to start there.
    `gpus` are taken by the run (1 on the CPU, too), `base_bits` by each of the base weights (32 where all are trained); `reasons` say in
    words why the engine and what the recipe leaves to the plan were chosen. `repaired` says which earlier run has made the micro-batch
    smaller, `evaluation` what the evaluations come to (trainer.evaluation.cost.Outlook), `sweep` what varies in the sweep that the run is
    one of."""

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
    gpu_bytes: int = 0
    gpus: int = 1
    base_bits: int = 16
    padding_free: bool = False
    attention: str = "sdpa"
    optimizer: str = "adamw"
    gradient_checkpointing: str = "none"
    reasons: list[str] = field(default_factory=list)
    repaired: str = ""
    exact: bool = True
    formats: list[dict[str, Any]] = field(default_factory=list)
    policies: list[dict[str, Any]] = field(default_factory=list)
    met: dict[str, int] = field(default_factory=dict)
    evaluation: dict[str, Any] = field(default_factory=dict)
    sweep: dict[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    def shape(self, recipe: Recipe) -> repair.Shape:
        return _shape(self.model, self.engine, recipe)


def make_plan(recipe: Recipe) -> Plan:
    """Check the model and the first rows of the data, and work the rest out. LuthierError at the first thing that is wrong."""
    directory = registry.resolve(recipe.model)
    recipe.trackers.check()
    data = look(recipe.data_settings)
    heldout = recipe.heldout.count(data.conversations)
    trained = max(0, data.seen_each_epoch - heldout)
    on_gpu = bool(gpus())
    config = registry.read_config(directory)
    engine, why = engines.choose(recipe, config, "gpu" if on_gpu else "cpu", engines.installed())
    padding_free, layout = engines.flat(recipe, config, engine)
    methods.check(recipe, directory, engine, "gpu" if on_gpu else "cpu")
    usual = _GPU_MICRO_BATCH if on_gpu else _CPU_MICRO_BATCH
    micro_batch = recipe.train.micro_batch or repair.largest_divisor(recipe.train.global_batch, usual)
    if recipe.train.global_batch % micro_batch:
        message = f"train.global_batch {recipe.train.global_batch} is no multiple of train.micro_batch {micro_batch}."
        raise LuthierError("Batches do not add up", message, "Leave micro_batch out, or choose a divisor.")
    checkpointing = "none" if recipe.train.gradient_checkpointing == "auto" else recipe.train.gradient_checkpointing
    wanted = repair.Batch(micro_batch, recipe.train.global_batch // micro_batch, checkpointing)
    batch, repaired = repair.recall(_shape(recipe.model, engine, recipe), wanted)
    steps = step_count(trained, recipe.train.global_batch, recipe.train.epochs) if data.conversations else 0
    per_epoch = step_count(trained, recipe.train.global_batch, 1.0)
    evaluation = outlook(recipe.evaluation, recipe.heldout, heldout, steps, per_epoch, directory, "gpu" if on_gpu else "cpu", micro_batch)
    return Plan(
        model=recipe.model,
        model_directory=str(directory),
        device="gpu" if on_gpu else "cpu",
        engine=engine,
        padding_free=padding_free,
        reasons=[why, layout],
        conversations=data.conversations,
        heldout=heldout,
        global_batch=recipe.train.global_batch,
        micro_batch=batch.micro_batch,
        accumulation=batch.accumulation,
        epochs=recipe.train.epochs,
        steps=steps,
        slots=["gpu"] if on_gpu else ["cpu"],
        base_bits=methods.base_bits(recipe),
        attention="sdpa" if recipe.train.attention == "auto" else recipe.train.attention,
        optimizer="adamw" if recipe.train.optimizer == "auto" else recipe.train.optimizer,
        gradient_checkpointing=batch.gradient_checkpointing,
        repaired=repaired,
        gpu_bytes=_gpu_bytes(directory, recipe, batch.micro_batch) if on_gpu else 0,
        exact=data.exact,
        formats=data.formats,
        policies=table(recipe.policy),
        met=data.met,
        evaluation=evaluation.to_json(),
    )


def _gpu_bytes(directory: Path, recipe: Recipe, micro_batch: int) -> int:
    """Alone on a GPU a run can mend what does not fit by smaller batches; beside another one all that it takes must be free."""
    largest = int(0.95 * max(gpu.total for gpu in gpus()))
    return min(largest, planned_bytes(directory, recipe, micro_batch) if recipe.share_gpu else least_bytes(directory, recipe))


def step_count(conversations: int, global_batch: int, epochs: float) -> int:
    """Optimizer steps; the last batch of an epoch may be smaller."""
    return max(1, math.ceil(math.ceil(conversations / global_batch) * epochs))


def _shape(model: str, engine: str, recipe: Recipe) -> repair.Shape:
    return repair.Shape(model, engine, repair.device_name(), recipe.train.max_length, recipe.lora.r)
