"""What TRL's configs get, whichever engine trains, and whatever is learned."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from models.folder import ModelFolder
from models.run_folder import RunFolder
from trainer.distributed import ranks
from trainer.distributed.sharding import sharding_arguments
from trainer.plan.plan import Plan
from trainer.recipe import Recipe
from trainer.run.checkpoints import SAVING_FOLDER
from trainer.run.tracking import reporting

# transformers' names; what "auto" is, the plan has decided.
_OPTIMIZERS = {
    "adamw": "adamw_torch_fused",
    "adamw_8bit": "adamw_bnb_8bit",
    "paged_adamw_8bit": "paged_adamw_8bit",
    "paged_adamw_32bit": "paged_adamw_32bit",
}


def run_arguments(plan: Plan, recipe: Recipe, folder: Path, steps: int) -> dict[str, Any]:
    """`steps` are the optimizer steps of the whole run, `folder` is its job's."""
    return {
        "output_dir": str(RunFolder(folder).checkpoints / SAVING_FOLDER),
        "num_train_epochs": recipe.train.epochs,
        "learning_rate": plan.rate(recipe),
        "lr_scheduler_type": recipe.train.schedule,
        "warmup_steps": round(recipe.train.warmup * steps),
        "optim": _OPTIMIZERS[plan.compute.optimizer],
        "neftune_noise_alpha": recipe.train.neftune_alpha or None,
        "weight_decay": recipe.train.weight_decay,
        "max_grad_norm": recipe.train.max_gradient_norm,
        "per_device_train_batch_size": plan.compute.micro_batch,
        "per_device_eval_batch_size": plan.compute.micro_batch,
        "gradient_accumulation_steps": plan.compute.accumulation,
        "gradient_checkpointing": plan.compute.gradient_checkpointing != "none",
        **_checkpointing(plan),
        "eval_strategy": "no",  # the evaluator asks for evaluations
        "save_strategy": "no",
        "logging_steps": 1,
        "logging_nan_inf_filter": False,
        "seed": recipe.train.seed,
        "data_seed": recipe.train.seed,
        "bf16": plan.compute.compute_dtype != "float32",
        "use_cpu": plan.device == "cpu",
        "dataloader_pin_memory": plan.device != "cpu",
        "max_length": None,
        "disable_tqdm": True,
        "push_to_hub": False,
        **(_between_ranks(plan) if plan.ranks > 1 else {}),
        **(reporting(recipe, folder.name) if ranks.first() else {"report_to": "none"}),
    }


def _checkpointing(plan: Plan) -> dict[str, Any]:
    """bitsandbytes 0.50's 8-bit product keeps its input where only a reentrant checkpoint, whose
    first pass builds no graph, forgets it: an 8B model took 33 GB rather than 14
    (bench/gpu/RESULTS.md)."""
    return (
        {"gradient_checkpointing_kwargs": {"use_reentrant": True}}
        if plan.compute.base_bits == 8
        else {}
    )


def _between_ranks(plan: Plan) -> dict[str, Any]:
    """Every rank uses each trained weight in each forward pass, but where experts are mixed: there
    it uses those that its tokens go to."""
    return {
        "ddp_find_unused_parameters": ModelFolder(Path(plan.model_directory)).mixes_experts,
        "ddp_broadcast_buffers": False,
        **({"ddp_backend": "gloo"} if plan.device == "cpu" else {}),
        **sharding_arguments(plan),
    }
