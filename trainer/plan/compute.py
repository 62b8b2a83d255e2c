"""What the plan decides of how a run is computed, and why. Light.

A recipe asks (trainer.recipe), the plan decides: its Compute is embedded wherever the decision is
needed, from a candidate of the plan to the checkpoint of a repaired run.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, NotRequired, TypedDict


@dataclass(frozen=True)
class Reason:
    """Why a value is what it is."""

    key: str
    """The recipe's key that it speaks of, such as "train.base_bits"; "" for what concerns no single
    one, and in the plans of earlier versions."""
    text: str


class Batch(TypedDict):
    """Of a Compute what a repair changes, as checkpoints, `repairs.json` and events have it."""

    micro_batch: int
    accumulation: int
    gradient_checkpointing: NotRequired[str]
    """Absent in files of the first versions, for "none"."""
    float8: NotRequired[bool]
    """Absent where it is as the plan says: a checkpoint has it, since trials may decide on it."""


@dataclass(frozen=True)
class Compute:
    """How a run is computed: what the recipe's keys of these names come to. It changes speed and
    memory; the number types also change, a little, what is learned."""

    base_bits: int = 16
    """Of each of the base weights; 32 where all are trained."""
    float8: bool = False
    """Whether products with the frozen weights are computed in float8."""
    compute_dtype: str = "bfloat16"
    """What is computed in; "auto" on a CPU until the run has measured
    (trainer.plan.compute_dtype)."""
    gradient_checkpointing: str = "none"
    """"none", or the name of a kind."""
    optimizer: str = "adamw"
    attention: str = "sdpa"
    padding_free: bool = False
    """Whether the conversations of a micro-batch lie behind each other rather than padded."""
    micro_batch: int = 1
    """Conversations at a time on each GPU."""
    accumulation: int = 1
    """Micro-batches of each GPU in an optimizer step."""
    shards: int = 1
    """Of how many GPUs each holds a share of weights, gradients and optimizer states (FSDP2); 1:
    each has them whole."""

    @property
    def conversations(self) -> int:
        """Of a global batch, on each GPU."""
        return self.micro_batch * self.accumulation

    @property
    def batch(self) -> Batch:
        return {
            "micro_batch": self.micro_batch,
            "accumulation": self.accumulation,
            "gradient_checkpointing": self.gradient_checkpointing,
        }

    @property
    def settled(self) -> Batch:
        """What a run that goes on keeps, whatever its plan said at first."""
        return {**self.batch, "float8": self.float8}

    def with_micro_batch(self, size: int) -> Compute:
        """With so many conversations at a time, of the same global batch."""
        return replace(self, micro_batch=size, accumulation=self.conversations // size)


def largest_divisor(number: int, limit: int) -> int:
    return next(size for size in range(min(number, limit), 0, -1) if number % size == 0)


def flattened(values: Mapping[str, Any]) -> dict[str, Any]:
    """The JSON of a record that embeds a Compute: its values stand among the record's own, as they
    have from the first version on."""
    return {**values["compute"], **{key: values[key] for key in values if key != "compute"}}


def embedded(values: Mapping[str, Any]) -> dict[str, Any]:
    """`flattened` turned back. What an earlier version did not decide has its default."""
    decided = {key: values[key] for key in _NAMES if key in values}
    return {
        "compute": Compute(**decided),
        **{key: values[key] for key in values if key not in _NAMES},
    }


_NAMES = frozenset(field.name for field in fields(Compute))
