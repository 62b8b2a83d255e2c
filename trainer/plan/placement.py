"""Where a run's ranks go: how many GPUs of how many machines. Light.

Several machines are told of by the variables that torchrun itself reads (PET_NNODES, PET_NODE_RANK,
PET_MASTER_ADDR, PET_MASTER_PORT): the same command on each machine, with the same recipe, makes one
run of them.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field

from jobs.gpus import Gpu
from jobs.luthier_error import LuthierError
from trainer.plan.compute import Reason
from trainer.recipe import Recipe


@dataclass(frozen=True)
class Placement:
    """Where the ranks of a run go, one to a GPU."""

    gpus: int
    """Of each machine."""
    machines: int = 1
    reasons: list[Reason] = field(default_factory=list)

    @property
    def ranks(self) -> int:
        return self.gpus * self.machines


def place(recipe: Recipe, present: list[Gpu]) -> Placement:
    """The ranks that the recipe comes to on this machine, which has the GPUs `present`.
    LuthierError if it has fewer than are asked for."""
    nodes = machines()
    if not present:
        on_cpu = "gpus = 1: this machine has no GPU, and one process uses all of its cores"
        return Placement(1, nodes, [Reason("gpus", on_cpu)] if recipe.gpus != 1 else [])
    gpus = len(present) if recipe.gpus == "all" else recipe.gpus
    if gpus > len(present):
        message = f"gpus = {gpus}, but nvidia-smi lists {len(present)} on this machine."
        raise LuthierError(
            "Not enough GPUs", message, f'Lower gpus to {len(present)}, or write gpus = "all".'
        )
    reasons = []
    if gpus > 1:
        of_each = " of each machine" if nodes > 1 else ""
        text = f"{gpus} GPUs{of_each}, each with its share of every batch"
        reasons.append(Reason("gpus", text))
    if nodes > 1:
        text = f"{nodes} machines, because PET_NNODES says so; this is machine {machine()}"
        reasons.append(Reason("", text))
    if recipe.share_gpu and gpus * nodes > 1:
        raise LuthierError(
            "share_gpu is for one GPU",
            f"The recipe has share_gpu and asks for {gpus * nodes} GPUs.",
            "Leave out one of the two.",
        )
    return Placement(gpus, nodes, reasons)


def share(global_batch: int, ranks: int) -> int:
    """The conversations of a global batch that each rank computes. LuthierError if they cannot be
    shared out evenly."""
    if global_batch % ranks == 0:
        return global_batch // ranks
    below, above = global_batch // ranks * ranks, (global_batch // ranks + 1) * ranks
    near = f"{below} or {above}" if below else str(above)
    message = (
        f"train.global_batch {global_batch} is not a multiple of the {ranks} GPUs that share it."
    )
    raise LuthierError(
        "Batches do not add up", message, f"Set train.global_batch to {near}, or change gpus."
    )


def machines() -> int:
    """How many machines the run is spread over. LuthierError for a range of them: batches are
    planned for a number."""
    text = os.environ.get("PET_NNODES", "1")
    if not text.isdigit() or int(text) < 1:
        raise LuthierError(
            "How many machines?",
            f"PET_NNODES is {text!r}.",
            "Set it to a number; see docs/scale.md.",
        )
    return int(text)


def machine() -> int:
    """Which of them this is; number 0 has the run's folder."""
    text = os.environ.get("PET_NODE_RANK", "0")
    if not text.isdigit() or int(text) >= machines():
        message = f"PET_NODE_RANK is {text!r}, and PET_NNODES is {machines()}."
        raise LuthierError(
            "Which machine is this?",
            message,
            "Number the machines from 0; see docs/scale.md.",
        )
    return int(text)
