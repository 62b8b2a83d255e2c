"""What a model with an adapter needs of the Trainer, whichever engine made it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from peft import PeftModel

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def whole_logits(model: PeftModel | PreTrainedModel) -> bool:
    """Whether the loss must be that of whole logits: TRL's chunked one reads the weights of a plain
    head only, without trained rows or LoRA on it."""
    return not isinstance(model.get_output_embeddings(), torch.nn.Linear)


def float32_adapter(model: PeftModel | PreTrainedModel) -> None:
    """TRL takes the adapter of a quantised base to bfloat16, where an update of less than 1/256 of
    a weight is lost."""
    for parameter in model.parameters():
        if parameter.requires_grad and isinstance(model, PeftModel):
            parameter.data = parameter.data.float()


def in_order(model: PeftModel) -> None:
    """Have the adapter's config list its modules in one order: PEFT holds them as sets, whose order
    is another one in each process, and equal adapters would be saved as different bytes."""
    for config in model.peft_config.values():
        for name, value in vars(config).items():
            if isinstance(value, set):
                setattr(config, name, sorted(value))
