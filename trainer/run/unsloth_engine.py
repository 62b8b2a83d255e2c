"""The Unsloth engine: Unsloth's model and kernels, LoRA with PEFT, TRL's SFTTrainer in Unsloth's
version. One run a process, and nothing that loads transformers may be imported before this
module."""

from __future__ import annotations

import trainer.run.unsloth_environment  # noqa: F401

# isort: split
import os
from typing import TYPE_CHECKING, Any

import torch
from transformers import AutoConfig, PreTrainedTokenizerBase
from unsloth import FastLanguageModel

from trainer.kernels.rotation import use_rotation
from trainer.kernels.scored_rows import use_scored_rows
from trainer.kernels.varlen import lend_to_unsloth
from trainer.plan.lora_targets import unsloth_targets
from trainer.plan.plan import Plan
from trainer.recipe import Recipe

if TYPE_CHECKING:
    from peft import PeftModel

THRIFTIEST = "unsloth"
_CHECKPOINTING: dict[str, Any] = {"none": False, "standard": True, "unsloth": "unsloth"}


def load_model(plan: Plan, recipe: Recipe, tokenizer: PreTrainedTokenizerBase) -> PeftModel:
    """The base model with a fresh adapter, seeded. Runs with new tokens are not Unsloth's:
    `tokenizer` is the base model's."""
    checkpointing = _CHECKPOINTING[plan.compute.gradient_checkpointing]
    seed = recipe.train.seed
    model, _ = FastLanguageModel.from_pretrained(
        plan.model_directory,
        max_seq_length=_longest(plan, recipe),
        dtype=torch.bfloat16,
        load_in_4bit=plan.compute.base_bits == 4,
        load_in_8bit=plan.compute.base_bits == 8,
        load_in_16bit=plan.compute.base_bits == 16,
        use_gradient_checkpointing=checkpointing,
        use_exact_model_name=True,
        local_files_only=True,
        random_state=seed,
    )
    use_scored_rows()
    use_rotation()
    if torch.cuda.is_available():
        from unsloth.utils import attention_dispatch  # it asks for the GPU

        lend_to_unsloth(attention_dispatch)
    # it compiles whole layers of padded batches, and a compiler does not see such weights' products
    if plan.compute.float8:
        os.environ["UNSLOTH_BLOCK_COMPILE"] = "0"
    lora = recipe.lora
    tuned: PeftModel = FastLanguageModel.get_peft_model(
        model,
        r=lora.r,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        target_modules=unsloth_targets(lora.targets),
        use_rslora=lora.rslora,
        use_gradient_checkpointing=checkpointing,
        random_state=seed,
    )
    for config in tuned.peft_config.values():  # an adapter of PEFT's, not of Unsloth's
        config.base_model_name_or_path, config.auto_mapping = plan.model_directory, None
    return tuned


def use_checkpointing(model: Any, kind: str) -> None:
    """As its own get_peft_model and trainer have it."""
    from unsloth.models._utils import apply_unsloth_gradient_checkpointing

    effective = apply_unsloth_gradient_checkpointing(
        _CHECKPOINTING[kind], getattr(model, "max_seq_length", 2048), torch.bfloat16
    )
    model._unsloth_gradient_checkpointing = effective
    FastLanguageModel.for_training(model, use_gradient_checkpointing=effective)


def borders(lengths: list[int]) -> dict[str, Any]:
    return {"packed_seq_lengths": torch.tensor(lengths, dtype=torch.int32)}


def _longest(plan: Plan, recipe: Recipe) -> int:
    """Samples, or prompts with their answers. Beyond the model's own positions Unsloth would
    stretch them, which is another model."""
    positions = (
        AutoConfig.from_pretrained(plan.model_directory, local_files_only=True)
        .get_text_config()
        .max_position_embeddings
    )
    return int(min(recipe.train.max_length + recipe.evaluation.answer_tokens, positions))
