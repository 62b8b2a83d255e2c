"""The TRL engine: LoRA with PEFT through TRL's SFTTrainer, on the CPU or one GPU.

TRL gets token ids and labels that Luthier has made and verified; its own templating, masking and truncation are switched off.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from datasets import Dataset
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, PreTrainedTokenizerBase, TrainerCallback
from trl import SFTConfig, SFTTrainer

from models.samples import Sample
from trainer.checkpoints import SAVING_FOLDER
from trainer.plan import Plan, step_count
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


def build_trainer(
    plan: Plan,
    recipe: Recipe,
    model: PeftModel,
    tokenizer: PreTrainedTokenizerBase,
    train: Sequence[Sample],
    heldout: Sequence[Sample],
    folder: Path,
    callbacks: list[TrainerCallback],
) -> SFTTrainer:
    """A trainer that logs each step and evaluates `recipe.train.evaluations` times, spread evenly, the last time at the end."""
    steps = step_count(len(train), plan.global_batch, recipe.train.epochs)
    evaluations = min(recipe.train.evaluations, steps) if heldout else 0
    arguments = SFTConfig(
        output_dir=str(folder / "checkpoints" / SAVING_FOLDER),
        num_train_epochs=recipe.train.epochs,
        learning_rate=recipe.train.learning_rate,
        lr_scheduler_type=recipe.train.schedule,
        warmup_steps=round(recipe.train.warmup * steps),
        weight_decay=recipe.train.weight_decay,
        max_grad_norm=recipe.train.max_gradient_norm,
        per_device_train_batch_size=plan.micro_batch,
        per_device_eval_batch_size=plan.micro_batch,
        gradient_accumulation_steps=plan.accumulation,
        gradient_checkpointing=recipe.train.gradient_checkpointing,
        eval_strategy="steps" if evaluations else "no",
        eval_steps=math.ceil(steps / evaluations) if evaluations else None,
        save_strategy="no",
        logging_steps=1,
        logging_nan_inf_filter=False,
        seed=recipe.train.seed,
        data_seed=recipe.train.seed,
        bf16=True,
        use_cpu=plan.device == "cpu",
        dataloader_pin_memory=plan.device != "cpu",
        max_length=None,
        dataset_kwargs={"skip_prepare_dataset": True},
        report_to="none",
        disable_tqdm=True,
        push_to_hub=False,
    )
    return SFTTrainer(
        model=model,
        args=arguments,
        train_dataset=_dataset(train),
        eval_dataset=_dataset(heldout) if evaluations else None,
        processing_class=tokenizer,
        callbacks=callbacks,
    )


def _dataset(samples: Sequence[Sample]) -> Dataset:
    return Dataset.from_dict({"input_ids": [sample.input_ids for sample in samples], "labels": [sample.labels for sample in samples]})
