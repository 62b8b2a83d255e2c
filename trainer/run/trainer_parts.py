"""What the Trainer of a run is built of, whatever it learns."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from peft import PeftModel
from transformers import (
    PreTrainedModel,
    PreTrainedTokenizerBase,
    TrainerCallback,
    TrainingArguments,
)

from trainer.data.pipeline import Prepared
from trainer.distributed.sharding import allow_on_the_cpu, keep_sums_exact
from trainer.evaluation.evaluator import Evaluator
from trainer.plan.plan import Plan, step_count
from trainer.recipe import Recipe
from trainer.run.arguments import run_arguments
from trainer.run.progress_events import EventCallback
from trainer.run.run_trainer import RunTrainer
from trainer.run.saving import CheckpointCallback
from trainer.run.tracking import RecipeTelling, prepare_trackers


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


@dataclass(frozen=True)
class TrainerParts:
    """A run's plan and recipe, its model and its data."""

    plan: Plan
    recipe: Recipe
    model: PeftModel | PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    prepared: Prepared
    folder: Path
    callbacks: RunCallbacks
    evaluate_first: bool
    """Before the first step."""

    def arguments(self) -> dict[str, Any]:
        """What the config of any of TRL's trainers gets."""
        steps = step_count(
            self.prepared.summary["train"], self.plan.global_batch, self.recipe.train.epochs
        )
        return {
            **run_arguments(self.plan, self.recipe, self.folder, steps),
            "eval_on_start": self.evaluate_first,
        }

    def for_trainer(self, arguments: TrainingArguments) -> dict[str, Any]:
        """What any RunTrainer gets."""
        allow_on_the_cpu(arguments)
        prepare_trackers(self.recipe, self.folder)
        return {
            "evaluator": self.callbacks.evaluator,
            "saving": self.callbacks.saving,
            "memory": self.callbacks.progress.memory,
            "plus_ratio": self.recipe.lora.plus_ratio,
            "model": self.model,
            "args": arguments,
            "processing_class": self.tokenizer,
            "callbacks": self.callbacks.in_order,
        }

    def finish(self, trainer: RunTrainer) -> None:
        """What is done to a trainer once it is built."""
        _train_adapter_in_float32(self.model)
        keep_sums_exact(trainer)
        trainer.add_callback(RecipeTelling(self.recipe, trainer.callback_handler.callbacks))


def _train_adapter_in_float32(model: PeftModel | PreTrainedModel) -> None:
    """TRL takes the adapter of a quantised base to bfloat16, where an update of less than 1/256 of
    a weight is lost."""
    if isinstance(model, PeftModel):
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.data = parameter.data.float()
