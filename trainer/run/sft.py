"""The Trainer of supervised fine-tuning, built of a run's plan and its recipe, for either engine.

It gets token ids and labels that Luthier has made and verified; TRL's own templating, masking,
packing and truncation are switched off.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import torch
from peft import PeftModel
from transformers import PreTrainedModel, PreTrainedTokenizerBase
from trl import SFTConfig

from trainer.kernels.head_loss import use_single_pass_loss
from trainer.kernels.padding_free import GPU_MULTIPLE, FlatCollator
from trainer.plan.plan import Plan
from trainer.run.dataset import PLAIN, WEIGHTED, Vocabulary, dataset
from trainer.run.sft_trainer import SftTrainer
from trainer.run.trainer_parts import TrainerParts
from trainer.run.weighted import WeightCollator, WeightedLoss

_ROUTERS = frozenset({"gate", "router"})
"""What transformers calls the layer that chooses the experts."""


def build_trainer(
    parts: TrainerParts, borders: Callable[[list[int]], dict[str, Any]]
) -> SftTrainer:
    """A trainer that logs each step, and evaluates and saves when the callbacks say so. `borders`
    make of the lengths in a flat batch what the engine's attention keeps conversations apart by."""
    plan, model = parts.plan, parts.model
    prepared, tokenizer = parts.prepared, parts.tokenizer
    weighted = bool(prepared.summary["weighted"])
    vocabulary = Vocabulary.of(model, tokenizer)
    columns = WEIGHTED if weighted else PLAIN
    arguments = SFTConfig(
        **parts.arguments(),
        dataset_kwargs={"skip_prepare_dataset": True},
        router_aux_loss_coef=None if _balances_experts(model) else 0.0,
        **({"loss_type": "nll"} if weighted or needs_whole_logits(model) else {}),
    )
    if plan.device == "cpu":
        use_single_pass_loss(parts.callbacks.progress.memory.see)
    trainer = SftTrainer(
        flat=plan.compute.padding_free,
        weights=WeightedLoss() if weighted else None,
        train_dataset=dataset(prepared.train, vocabulary, columns),
        eval_dataset=dataset(prepared.heldout, vocabulary, columns)
        if prepared.summary["heldout"]
        else None,
        data_collator=_collator(plan, borders, tokenizer, weighted=weighted),
        **parts.for_trainer(arguments),
    )
    parts.finish(trainer)
    return trainer


def _balances_experts(model: PeftModel | PreTrainedModel) -> bool:
    """Whether the loss that keeps a mixture's experts equally busy is part of the run's, with the
    weight that the model's config has.

    It is for a router that is trained; through a frozen one it would only pull at the layers before
    it. Not each class that has a weight for it has the loss: Llama 4's does not, and Granite's
    hybrids do not return what it is made of."""
    routed = any(
        parameter.requires_grad and not _ROUTERS.isdisjoint(name.split("."))
        for name, parameter in model.named_parameters()
    )
    if not routed:
        return False
    whole = model.get_base_model() if isinstance(model, PeftModel) else model
    has_loss = hasattr(sys.modules[type(whole).__module__], "load_balancing_loss_func")
    return has_loss and any(
        "router_logits" in (module._can_record_outputs or {})
        for module in model.modules()
        if isinstance(module, PreTrainedModel)
    )


def needs_whole_logits(model: PeftModel | PreTrainedModel) -> bool:
    """TRL's chunked loss reads the weights of a plain head only, without trained rows or LoRA on
    it, and asks the layers below the head alone, which Llama 4's class does not tell apart."""
    whole = model.get_base_model() if isinstance(model, PeftModel) else model
    plain_head = isinstance(model.get_output_embeddings(), torch.nn.Linear)
    return not plain_head or whole.base_model is whole


def _collator(
    plan: Plan,
    borders: Callable[[list[int]], dict[str, Any]],
    tokenizer: PreTrainedTokenizerBase,
    *,
    weighted: bool,
) -> FlatCollator | WeightCollator | None:
    """None: TRL's own."""
    if plan.compute.padding_free:
        multiple = GPU_MULTIPLE if plan.device == "gpu" else 1
        by_unsloth = plan.engine == "unsloth" and not weighted
        return FlatCollator(borders, multiple, names_scored=by_unsloth)
    if not weighted:
        return None
    return WeightCollator(
        int(tokenizer.eos_token_id if tokenizer.pad_token_id is None else tokenizer.pad_token_id)
    )
