"""The Trainer of a run, built of its plan and its recipe, for either engine.

It gets token ids and labels that Luthier has made and verified; TRL's own templating, masking,
packing and truncation are switched off.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from transformers import PreTrainedModel, PreTrainedTokenizerBase, TrainerCallback
from trl import SFTConfig

from trainer.data.pipeline import Prepared
from trainer.distributed.sharding import allow_on_the_cpu, keep_sums_exact
from trainer.evaluation.evaluator import Evaluator
from trainer.kernels.head_loss import use_single_pass_loss
from trainer.kernels.padding_free import GPU_MULTIPLE, FlatCollator
from trainer.plan.plan import Plan, step_count
from trainer.recipe import Recipe
from trainer.run.arguments import sft_arguments
from trainer.run.dataset import Vocabulary, dataset
from trainer.run.progress_events import EventCallback
from trainer.run.run_trainer import RunTrainer
from trainer.run.saving import CheckpointCallback
from trainer.run.tracking import RecipeTelling, prepare_trackers
from trainer.run.weighted import WeightCollator, WeightedLoss


@dataclass(frozen=True)
class RunCallbacks:
    """What hears of a run's steps."""

    progress: EventCallback
    steps: TrainerCallback
    evaluator: Evaluator
    saving: CheckpointCallback

    @property
    def in_order(self) -> list[TrainerCallback]:
        """The one that saves comes after those whose state it saves."""
        return [self.progress, self.steps, self.evaluator, self.saving]


def build_trainer(
    plan: Plan,
    recipe: Recipe,
    model: PeftModel | PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prepared: Prepared,
    folder: Path,
    callbacks: RunCallbacks,
    borders: Callable[[list[int]], dict[str, Any]],
    *,
    evaluate_first: bool,
) -> RunTrainer:
    """A trainer that logs each step, and evaluates and saves when the callbacks say so. `borders`
    make of the lengths in a flat batch what the engine's attention keeps conversations apart by.
    `evaluate_first`: before its first step."""
    steps = step_count(prepared.summary["train"], plan.global_batch, recipe.train.epochs)
    weighted = bool(prepared.summary["weighted"])
    vocabulary = Vocabulary.of(model, tokenizer)
    arguments = SFTConfig(
        **sft_arguments(plan, recipe, folder, steps),
        eval_on_start=evaluate_first,
        **({"loss_type": "nll"} if weighted or _needs_whole_logits(model) else {}),
    )
    allow_on_the_cpu(arguments)
    if plan.device == "cpu":
        use_single_pass_loss()
    prepare_trackers(recipe, folder)
    trainer = RunTrainer(
        evaluator=callbacks.evaluator,
        saving=callbacks.saving,
        flat=plan.compute.padding_free,
        weights=WeightedLoss() if weighted else None,
        plus_ratio=recipe.lora.plus_ratio,
        model=model,
        args=arguments,
        train_dataset=dataset(prepared.train, vocabulary, weighted=weighted),
        eval_dataset=dataset(prepared.heldout, vocabulary, weighted=weighted)
        if prepared.summary["heldout"]
        else None,
        data_collator=_collator(plan, borders, tokenizer, weighted=weighted),
        processing_class=tokenizer,
        callbacks=callbacks.in_order,
    )
    _train_adapter_in_float32(model)
    keep_sums_exact(trainer)
    trainer.add_callback(RecipeTelling(recipe, trainer.callback_handler.callbacks))
    return trainer


def _needs_whole_logits(model: PeftModel | PreTrainedModel) -> bool:
    """TRL's chunked loss reads the weights of a plain head only, without trained rows or LoRA on
    it."""
    return not isinstance(model.get_output_embeddings(), torch.nn.Linear)


def _train_adapter_in_float32(model: PeftModel | PreTrainedModel) -> None:
    """TRL takes the adapter of a quantised base to bfloat16, where an update of less than 1/256 of
    a weight is lost."""
    if isinstance(model, PeftModel):
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.data = parameter.data.float()


def _collator(
    plan: Plan,
    borders: Callable[[list[int]], dict[str, Any]],
    tokenizer: PreTrainedTokenizerBase,
    *,
    weighted: bool,
) -> FlatCollator | WeightCollator | None:
    """None: TRL's own."""
    if plan.compute.padding_free:
        return FlatCollator(borders, GPU_MULTIPLE if plan.device == "gpu" else 1)
    if not weighted:
        return None
    return WeightCollator(
        int(tokenizer.eos_token_id if tokenizer.pad_token_id is None else tokenizer.pad_token_id)
    )
