"""The TRL engine: transformers' model, LoRA with PEFT, TRL's SFTTrainer; on the CPU and on GPUs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from transformers import PreTrainedModel, PreTrainedTokenizerBase, TrainerCallback
from trl import SFTTrainer

from trainer import loading, sft
from trainer.attention import use_attention_by_conversation
from trainer.data.pipeline import Prepared
from trainer.flat import cumulative_lengths
from trainer.plan import Plan
from trainer.recipe import Recipe

if TYPE_CHECKING:
    from peft import PeftModel

THRIFTIEST = "standard"


def load_model(plan: Plan, recipe: Recipe, tokenizer: PreTrainedTokenizerBase) -> PeftModel | PreTrainedModel:
    model = loading.load_model(plan, recipe, tokenizer)
    if plan.padding_free:
        use_attention_by_conversation(model if recipe.train.method == "full" else model.get_base_model())
    return model


def build_trainer(
    plan: Plan,
    recipe: Recipe,
    model: PeftModel | PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prepared: Prepared,
    folder: Path,
    callbacks: list[TrainerCallback],
) -> SFTTrainer:
    return sft.build_trainer(plan, recipe, model, tokenizer, prepared, folder, callbacks, cumulative_lengths)
