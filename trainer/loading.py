"""The base model with what is trained on it, as the recipe's method wants it, by transformers and PEFT."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, BitsAndBytesConfig, set_seed

from trainer.plan import Plan
from trainer.recipe import Recipe

if TYPE_CHECKING:
    from peft import PeftModel
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

# None of these names lets transformers fetch a kernel from the hub in place of a package that is missing.
ATTENTION = {"sdpa": "sdpa", "flex": "flex_attention", "flash": "flash_attention_2"}


def load_model(plan: Plan, recipe: Recipe, tokenizer: PreTrainedTokenizerBase) -> PeftModel | PreTrainedModel:
    """The base model with a fresh adapter, or to be trained itself; seeded. `tokenizer` is the run's, which may have more tokens than the
    base model's own (trainer.vocabulary)."""
    set_seed(recipe.train.seed)
    model = AutoModelForCausalLM.from_pretrained(plan.model_directory, **loading_options(plan))
    model.config.use_cache = False
    if recipe.train.method == "full":
        return model
    return get_peft_model(model, lora_config(recipe))


def loading_options(plan: Plan) -> dict[str, Any]:
    """What from_pretrained gets. A base that is trained itself has float32 weights unless the recipe says 16 bits: an update of less than
    1/256 of a weight is lost in bfloat16."""
    quantised = quantization(plan.base_bits)
    return {
        "dtype": torch.float32 if plan.base_bits == 32 else torch.bfloat16,
        "attn_implementation": ATTENTION[plan.attention],
        "local_files_only": True,
        "use_safetensors": True,
        **({} if quantised is None else {"quantization_config": quantised, "device_map": {"": torch.cuda.current_device()}}),
    }


def quantization(bits: int) -> BitsAndBytesConfig | None:
    """How bitsandbytes stores the base: QLoRA's nf4 with its constants quantised too, LLM.int8, or not at all.

    PEFT's prepare_model_for_kbit_training is not called: what it does beyond get_peft_model is to copy norms, embeddings and head into float32,
    2 GB more for a model of 8B, which autocast takes back to bfloat16 for all but the norms' weights."""
    if bits == 4:
        return BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=torch.bfloat16,
        )
    return BitsAndBytesConfig(load_in_8bit=True) if bits == 8 else None


def lora_config(recipe: Recipe) -> LoraConfig:
    """What PEFT is to put on the base model."""
    lora = recipe.lora
    return LoraConfig(
        r=lora.r,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        target_modules=lora.targets,
        use_rslora=lora.rslora,
        use_dora=lora.dora,
        task_type="CAUSAL_LM",
    )
