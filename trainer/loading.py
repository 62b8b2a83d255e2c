"""The base model with what is trained on it, as the recipe's method wants it, by transformers and PEFT."""

from __future__ import annotations

from typing import TYPE_CHECKING

from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM

from trainer.plan import Plan
from trainer.recipe import Recipe

if TYPE_CHECKING:
    from peft import PeftModel


def load_model(plan: Plan, recipe: Recipe) -> PeftModel:
    """The base model in bfloat16 with a fresh adapter, seeded."""
    import torch
    from transformers import set_seed

    set_seed(recipe.train.seed)
    model = AutoModelForCausalLM.from_pretrained(
        plan.model_directory, dtype=torch.bfloat16, local_files_only=True, attn_implementation="sdpa", use_safetensors=True
    )
    model.config.use_cache = False
    lora = LoraConfig(
        r=recipe.lora.r,
        lora_alpha=recipe.lora.alpha,
        lora_dropout=recipe.lora.dropout,
        target_modules="all-linear",
        task_type="CAUSAL_LM",
    )
    return get_peft_model(model, lora)
