"""What a run on a CPU computes in: bfloat16, or float32 where this CPU is quicker in it and has the memory. Light."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from jobs.errors import LuthierError
from jobs.memory import main_memory
from models.compute_dtype import DtypeSpeed, recall
from trainer.memory.predict import Memory, Setting, predict
from trainer.memory.shape import read_shape

if TYPE_CHECKING:
    from trainer.plan import Plan
    from trainer.recipe import Recipe

OPEN = "auto"
_TO_BE_MEASURED = "Computes in bfloat16 or float32: the run measures first which one this CPU multiplies faster."
_SHARE = 0.8  # of the main memory that a float32 model may take at most


def decided(plan: Plan, recipe: Recipe) -> Plan:
    """The plan with what the recipe, or an earlier measurement of this CPU, says. LuthierError for a type that cannot be had."""
    asked = recipe.train.compute_dtype
    only_bfloat16 = _only_bfloat16(plan)
    if asked == "float32" and only_bfloat16:
        message = f'train.compute_dtype = "float32", but {only_bfloat16}.'
        raise LuthierError("Not in float32", message, "Leave train.compute_dtype out.")
    if asked == "bfloat16" or only_bfloat16:
        return plan
    if asked == "float32":
        return _in_float32(plan, recipe, "Computes in float32, because the recipe says so.")
    speed = recall(Path(plan.model_directory)) if read_shape(Path(plan.model_directory)) else None
    if speed is None:
        return replace(plan, compute_dtype=OPEN, reasons=[*plan.reasons, _TO_BE_MEASURED])
    return settled(plan, recipe, speed)


def settled(plan: Plan, recipe: Recipe, speed: DtypeSpeed) -> Plan:
    """The plan with the type that this CPU multiplies faster, if its memory suffices."""
    plan = _in_bfloat16(plan)
    if not speed.favours_float32:
        return replace(plan, reasons=[*plan.reasons, f"Computes in bfloat16: {speed.in_words()}."])
    in_float32 = _in_float32(plan, recipe, f"Computes in float32: {speed.in_words()}.")
    needed, there = sum(in_float32.memory.values()), main_memory()
    if needed > _SHARE * there:
        why = f"Computes in bfloat16, although {speed.in_words()}: float32 needs {_gb(needed)} of the {_gb(there)} here."
        return replace(plan, reasons=[*plan.reasons, why])
    return in_float32


def resumed(plan: Plan, recipe: Recipe, dtype: str) -> Plan:
    """The plan of a run that began in this type."""
    plan = _in_bfloat16(plan)
    reason = f"Computes in {dtype}, as it did before."
    return _in_float32(plan, recipe, reason) if dtype == "float32" else replace(plan, reasons=[*plan.reasons, reason])


def _in_bfloat16(plan: Plan) -> Plan:
    return replace(plan, compute_dtype="bfloat16", reasons=[reason for reason in plan.reasons if reason != _TO_BE_MEASURED])


def _only_bfloat16(plan: Plan) -> str:
    """Why nothing else can be, as a clause; "" if float32 can."""
    if plan.device != "cpu":
        return "a GPU computes in bfloat16 here"
    if plan.base_bits in (4, 8):
        return f"the {plan.base_bits}-bit base is unpacked into bfloat16"
    if plan.float8:
        return "train.float8 is on"
    return ""


def _in_float32(plan: Plan, recipe: Recipe, reason: str) -> Plan:
    memory = _memory(plan, recipe)
    parts = {} if memory is None else memory.parts()
    return replace(plan, compute_dtype="float32", memory=parts, reasons=[*plan.reasons, reason])


def _memory(plan: Plan, recipe: Recipe) -> Memory | None:
    """The predicted memory of a run that computes in float32."""
    shape = read_shape(Path(plan.model_directory))
    if shape is None:
        return None
    empty = Setting.of(recipe, plan.engine, plan.base_bits, plan.gradient_checkpointing, plan.optimizer, plan.attention)
    rows = 1 if plan.padding_free else plan.micro_batch
    return predict(shape, replace(empty.holding(plan.tokens, rows, plan.micro_batch), compute_bytes=4))


def _gb(size: int) -> str:
    return f"{size / 1e9:.1f} GB"
