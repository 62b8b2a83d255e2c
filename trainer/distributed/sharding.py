"""A model of which each rank holds a share of every weight (FSDP2: torch's fully_shard), by
transformers and accelerate. For workers.

What is computed is gathered layer by layer, so that every forward pass is one of all ranks: they
train, evaluate, answer and save together.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import torch
from accelerate import PartialState
from accelerate.utils import DistributedType
from peft import PeftModel
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy
from torch.distributed.tensor import DTensor

from trainer.plan.plan import Plan

if TYPE_CHECKING:
    from transformers import PreTrainedModel, TrainingArguments
    from trl import SFTTrainer


def sharding_arguments(plan: Plan) -> dict[str, Any]:
    """What SFTConfig gets. Each micro-batch's gradients are shared out at once: kept to the end of
    the step, they would be whole."""
    if plan.compute.shards == 1:
        return {}
    return {
        "fsdp": True,
        "fsdp_config": {
            "version": 2,
            "state_dict_type": "FULL_STATE_DICT",
            "cpu_ram_efficient_loading": True,
        },
        "accelerator_config": {"gradient_accumulation_kwargs": {"sync_each_batch": True}},
    }


def read_weights_once() -> None:
    """One rank of each machine reads them, and the first one's are sent to all: transformers is
    told so by what accelerate would set."""
    os.environ["ACCELERATE_USE_FSDP"] = os.environ["FSDP_CPU_RAM_EFFICIENT_LOADING"] = "true"


def allow_on_the_cpu(arguments: TrainingArguments) -> None:
    """accelerate shards nothing on processes that it knows to be of a CPU."""
    if arguments.fsdp and arguments.use_cpu:
        PartialState._shared_state["distributed_type"] = DistributedType.MULTI_GPU


def keep_sums_exact(trainer: SFTTrainer) -> None:
    """Compute in 16 bits, but sum gradients over the ranks, and leave the loss, in 32: accelerate
    would have all of it in 16."""
    plugin = getattr(trainer.accelerator.state, "fsdp_plugin", None)
    if plugin is not None:
        plugin.mixed_precision_policy = MixedPrecisionPolicy(
            param_dtype=torch.bfloat16, reduce_dtype=torch.float32
        )


def is_sharded(model: Any) -> bool:
    return isinstance(model, FSDPModule)


def local(tensor: torch.Tensor) -> torch.Tensor:
    """This rank's share."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def whole_weights(model: PeftModel | PreTrainedModel) -> dict[str, Any]:
    """What is trained, gathered in the first rank's memory; the others get nothing, and must ask
    all the same."""
    only_trained = isinstance(model, PeftModel)
    options = StateDictOptions(
        full_state_dict=True, cpu_offload=True, ignore_frozen_params=only_trained
    )
    # Gathered, they are no longer one tensor that save_pretrained would know as such.
    tied = {name for name, _ in model.named_parameters(remove_duplicate=False)} - {
        name for name, _ in model.named_parameters()
    }
    return {
        name: weights
        for name, weights in get_model_state_dict(model, options=options).items()
        if name not in tied
    }
