"""The TRL engine: transformers' model, LoRA with PEFT, TRL's SFTTrainer; on the CPU and on GPUs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from trainer.distributed.sharding import read_weights_once
from trainer.kernels.attention import use_attention_by_conversation
from trainer.kernels.padding_free import cumulative_lengths as borders
from trainer.plan.plan import Plan
from trainer.recipe import Recipe
from trainer.run import loading

if TYPE_CHECKING:
    from peft import PeftModel

__all__ = ["THRIFTIEST", "borders", "load_model", "use_checkpointing"]

THRIFTIEST = "standard"


def load_model(
    plan: Plan, recipe: Recipe, tokenizer: PreTrainedTokenizerBase
) -> PeftModel | PreTrainedModel:
    if plan.compute.shards > 1:
        read_weights_once()
    model = loading.load_model(plan, recipe, tokenizer)
    if plan.compute.padding_free:
        use_attention_by_conversation(
            model if recipe.train.method == "full" else model.get_base_model()
        )
    return model


def use_checkpointing(model: Any, kind: str) -> None:
    if kind == "none":
        model.gradient_checkpointing_disable()
    else:
        model.gradient_checkpointing_enable({"use_reentrant": False})
