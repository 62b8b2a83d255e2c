"""This process among the ranks of its run, and what they tell each other. A process of its own is
the only rank. Heavy: for workers.

What is told here goes over gloo, beside the gradients: a rank may wait for minutes, while the first
one prepares the data or asks its questions, without a collective of the GPU that runs into its time
limit.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from datetime import timedelta
from typing import Any, TypeVar

import torch
from torch import distributed

Value = TypeVar("Value")
_PATIENCE = timedelta(days=2)
_talk: Any = None


def join(device: str) -> None:
    """Meet the other ranks, as torchrun's variables say where. On a GPU this rank has the one of
    its local number from now on."""
    global _talk
    if device == "cpu":
        # accelerate's own "cpu:0" is no place that torch.load knows
        os.environ["ACCELERATE_TORCH_DEVICE"] = "cpu"
        # also in a fork of a process that has more
        torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
        distributed.init_process_group("gloo")
    else:
        torch.cuda.set_device(local())
        distributed.init_process_group("nccl", device_id=torch.device("cuda", local()))
    _talk = distributed.new_group(backend="gloo", timeout=_PATIENCE)


def count() -> int:
    return 1 if _talk is None else distributed.get_world_size()


def number() -> int:
    return 0 if _talk is None else distributed.get_rank()


def local() -> int:
    """The number among the ranks of this machine."""
    return int(os.environ.get("LOCAL_RANK", "0"))


def first() -> bool:
    """Whether this is the rank that writes: events, checkpoints, the result."""
    return number() == 0


def any_of(flag: bool) -> bool:
    """Whether any rank says so. All of them must ask."""
    return bool(totals([float(flag)])[0])


def share_threads() -> None:
    """As many threads as the first rank has: their number decides the last bit of a sum."""
    if _talk is not None:
        torch.set_num_threads(from_first(torch.get_num_threads()))


def totals(values: Sequence[float]) -> list[float]:
    """The sum of each value over the ranks, the same to the last bit on each of them."""
    if _talk is None:
        return list(values)
    summed = torch.tensor(values, dtype=torch.float64)
    distributed.all_reduce(summed, group=_talk)
    return [float(value) for value in summed]


def from_first(value: Value) -> Value:
    """What the first rank has. The others wait for it."""
    if _talk is None:
        return value
    box = [value]
    distributed.broadcast_object_list(box, src=0, group=_talk)
    return box[0]


def gathered(value: Value) -> list[Value]:
    """What each rank has, in the order of their numbers."""
    if _talk is None:
        return [value]
    values: list[Any] = [None] * count()
    distributed.all_gather_object(values, value, group=_talk)
    return values
