"""What a run on a CPU computes in: bfloat16, or float32 where this CPU is quicker in it and has the
memory. Light."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from jobs.luthier_error import LuthierError
from jobs.memory import main_memory
from models.compute_dtype import DtypeSpeed, recall
from trainer.plan.compute import Compute, Reason
from trainer.plan.memory.predict import Setting, predict
from trainer.plan.memory.shape import read_shape

if TYPE_CHECKING:
    from trainer.plan.plan import Plan
    from trainer.recipe import Recipe

OPEN = "auto"
_KEY = "train.compute_dtype"
BEFORE_IT_WAS_CHOSEN = "bfloat16"
"""What runs of earlier versions computed in: their fingerprints do not say."""
_TO_BE_MEASURED = (
    "Computes in bfloat16 or float32: the run first measures which one this CPU multiplies faster."
)
_SHARE = 0.8  # of the main memory that a float32 model may take at most


def decided(plan: Plan, recipe: Recipe) -> Plan:
    """The plan with what the recipe, or an earlier measurement of this CPU, says. LuthierError for
    a type that cannot be had."""
    asked = recipe.train.compute_dtype
    only_bfloat16 = _only_bfloat16(plan)
    if asked == "float32" and only_bfloat16:
        message = f'train.compute_dtype = "float32", but {only_bfloat16}.'
        raise LuthierError("float32 is not possible", message, "Leave out train.compute_dtype.")
    if asked == "bfloat16" or only_bfloat16:
        return plan
    if asked == "float32":
        return _computing_in(
            "float32", plan, recipe, "Computes in float32, because the recipe says so."
        )
    speed = recall(Path(plan.model_directory)) if read_shape(Path(plan.model_directory)) else None
    if speed is None:
        compute = replace(plan.compute, compute_dtype=OPEN)
        return replace(
            plan, compute=compute, reasons=[*plan.reasons, Reason(_KEY, _TO_BE_MEASURED)]
        )
    return settled(plan, recipe, speed)


def settled(plan: Plan, recipe: Recipe, speed: DtypeSpeed) -> Plan:
    """The plan with the type that this CPU multiplies faster, if its memory suffices."""
    measured = speed.in_words()
    if not speed.favours_float32:
        return _computing_in("bfloat16", plan, recipe, f"Computes in bfloat16: {measured}.")
    in_float32 = _computing_in("float32", plan, recipe, f"Computes in float32: {measured}.")
    needed, there = sum(in_float32.memory.values()), main_memory()
    if needed <= _SHARE * there:
        return in_float32
    why = (
        f"Computes in bfloat16, although {measured}: float32 needs {_gb(needed)}, and this"
        f" machine has {_gb(there)}."
    )
    return _computing_in("bfloat16", plan, recipe, why)


def resumed(plan: Plan, recipe: Recipe, dtype: str) -> Plan:
    """The plan of a run that began in this type, whatever has been measured since."""
    return _computing_in(dtype, plan, recipe, f"Computes in {dtype}, as it did before.")


def _only_bfloat16(plan: Plan) -> str:
    """Why nothing else can be, as a clause; "" if float32 can."""
    if plan.device != "cpu":
        return "Luthier computes in bfloat16 on a GPU"
    if plan.compute.base_bits in (4, 8):
        return f"the {plan.compute.base_bits}-bit base is unpacked into bfloat16"
    if plan.compute.float8:
        return "train.float8 is on"
    return ""


def _computing_in(dtype: str, plan: Plan, recipe: Recipe, why: str) -> Plan:
    compute = replace(plan.compute, compute_dtype=dtype)
    reasons = [reason for reason in plan.reasons if not _is_of_the_type(reason)]
    return replace(
        plan,
        compute=compute,
        memory=_memory(compute, plan, recipe),
        reasons=[*reasons, Reason(_KEY, why)],
    )


def _is_of_the_type(reason: Reason) -> bool:
    """Also in a plan of an earlier version, whose reasons have no keys."""
    return reason.key == _KEY or (not reason.key and reason.text.startswith("Computes in "))


def _memory(compute: Compute, plan: Plan, recipe: Recipe) -> dict[str, int]:
    """The predicted bytes of the run's parts, empty where the model's shape is not known."""
    shape = read_shape(Path(plan.model_directory))
    if shape is None:
        return {}
    setting = Setting.of(recipe, plan.engine, compute, plan.device)
    return predict(shape, setting.holding(plan.tokens, compute.micro_batch)).parts()


def _gb(size: int) -> str:
    return f"{size / 1e9:.1f} GB"
