"""The TRL engine: LoRA with PEFT through TRL's SFTTrainer, on the CPU or one GPU.

TRL gets token ids and labels that Luthier has made and verified; its own templating, masking and truncation are switched off.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, PreTrainedTokenizerBase, TrainerCallback
from trl import SFTConfig, SFTTrainer

from trainer.checkpoints import SAVING_FOLDER
from trainer.data.pipeline import Prepared
from trainer.evaluation.trainer import Answering
from trainer.mixin import RunTrainer
from trainer.plan import Plan, step_count
from trainer.recipe import Recipe
from trainer.tables import Vocabulary, dataset
from trainer.tracking import RecipeTelling, prepare_trackers, reporting
from trainer.weighted import WeightCollator, WeightedTrainer

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
    prepared: Prepared,
    folder: Path,
    callbacks: list[TrainerCallback],
) -> SFTTrainer:
    """A trainer that logs each step, and evaluates and saves when the callbacks say so. Its `evaluator` is yet to be set."""
    steps = step_count(prepared.summary["train"], plan.global_batch, recipe.train.epochs)
    weighted = bool(prepared.summary["weighted"])
    vocabulary = Vocabulary.of(model, tokenizer)
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
        gradient_checkpointing=plan.gradient_checkpointing,
        eval_strategy="no",  # the evaluator asks for evaluations
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
        disable_tqdm=True,
        push_to_hub=False,
        **reporting(recipe, folder.name),
        **({"loss_type": "nll"} if weighted else {}),
    )
    kind, collator = (_WeightedTrainer, WeightCollator(_pad_token(tokenizer))) if weighted else (_Trainer, None)
    prepare_trackers(recipe, folder)
    trainer = kind(
        model=model,
        args=arguments,
        train_dataset=dataset(prepared.train, vocabulary, weighted=weighted),
        eval_dataset=dataset(prepared.heldout, vocabulary, weighted=weighted) if prepared.summary["heldout"] else None,
        data_collator=collator,
        processing_class=tokenizer,
        callbacks=callbacks,
    )
    trainer.add_callback(RecipeTelling(recipe, trainer.callback_handler.callbacks))
    return trainer


def _pad_token(tokenizer: PreTrainedTokenizerBase) -> int:
    return int(tokenizer.eos_token_id if tokenizer.pad_token_id is None else tokenizer.pad_token_id)


class _Trainer(RunTrainer, Answering, SFTTrainer):
    pass


class _WeightedTrainer(RunTrainer, Answering, WeightedTrainer):
    pass
