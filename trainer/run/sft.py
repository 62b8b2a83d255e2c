"""TRL's SFTTrainer as Luthier's runs need it, for either engine: under Unsloth it is Unsloth's
version of it.

It gets token ids and labels that Luthier has made and verified; its own templating, masking,
packing and truncation are switched off.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from transformers import PreTrainedModel, PreTrainedTokenizerBase, TrainerCallback
from trl import SFTConfig, SFTTrainer

from trainer.data.pipeline import Prepared
from trainer.distributed.sharding import allow_on_the_cpu, keep_sums_exact
from trainer.evaluation.evaluating_trainer import Answering
from trainer.kernels.head_loss import use_single_pass_loss
from trainer.kernels.padding_free import GPU_MULTIPLE, FlatCollator, FlatTrainer
from trainer.plan.plan import Plan, step_count
from trainer.recipe import Recipe
from trainer.run.adapter_files import float32_adapter, whole_logits
from trainer.run.arguments import sft_arguments
from trainer.run.dataset import Vocabulary, dataset
from trainer.run.run_trainer import RunTrainer
from trainer.run.tracking import RecipeTelling, prepare_trackers
from trainer.run.weighted import WeightCollator, WeightedTrainer

if TYPE_CHECKING:
    from peft import PeftModel


def build_trainer(
    plan: Plan,
    recipe: Recipe,
    model: PeftModel | PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prepared: Prepared,
    folder: Path,
    callbacks: list[TrainerCallback],
    borders: Callable[[list[int]], dict[str, Any]],
) -> SFTTrainer:
    """A trainer that logs each step, and evaluates and saves when the callbacks say so. Its
    `evaluator` is yet to be set. `borders` make of the lengths in a flat batch what the engine's
    attention keeps conversations apart by."""
    steps = step_count(prepared.summary["train"], plan.global_batch, recipe.train.epochs)
    weighted = bool(prepared.summary["weighted"])
    vocabulary = Vocabulary.of(model, tokenizer)
    arguments = SFTConfig(
        **sft_arguments(plan, recipe, folder, steps),
        **({"loss_type": "nll"} if weighted or whole_logits(model) else {}),
    )
    allow_on_the_cpu(arguments)
    if plan.device == "cpu":
        use_single_pass_loss()
    prepare_trackers(recipe, folder)
    trainer = (_WeightedTrainer if weighted else _Trainer)(
        model=model,
        args=arguments,
        train_dataset=dataset(prepared.train, vocabulary, weighted=weighted),
        eval_dataset=dataset(prepared.heldout, vocabulary, weighted=weighted)
        if prepared.summary["heldout"]
        else None,
        data_collator=_collator(plan, borders, tokenizer, weighted=weighted),
        processing_class=tokenizer,
        callbacks=callbacks,
    )
    float32_adapter(model)
    keep_sums_exact(trainer)
    trainer.flat = plan.compute.padding_free
    trainer.add_callback(RecipeTelling(recipe, trainer.callback_handler.callbacks))
    return trainer


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


class _Trainer(RunTrainer, FlatTrainer, Answering, SFTTrainer):
    pass


class _WeightedTrainer(RunTrainer, FlatTrainer, Answering, WeightedTrainer):
    pass
