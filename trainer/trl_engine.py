"""The TRL engine: LoRA with PEFT through TRL's SFTTrainer, on the CPU or one GPU.

TRL gets token ids and labels that Luthier has made and verified; its own templating, masking and truncation are switched off.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import pyarrow as pa  # type: ignore[import-untyped]
from datasets import Dataset
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, PreTrainedTokenizerBase, TrainerCallback
from trl import SFTConfig, SFTTrainer

from trainer.checkpoints import SAVING_FOLDER
from trainer.data.pipeline import Prepared
from trainer.plan import Plan, step_count
from trainer.recipe import Recipe
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
    """A trainer that logs each step and evaluates `recipe.train.evaluations` times, spread evenly, the last time at the end."""
    steps = step_count(prepared.summary["train"], plan.global_batch, recipe.train.epochs)
    evaluations = min(recipe.train.evaluations, steps) if prepared.summary["heldout"] else 0
    weighted = bool(prepared.summary["weighted"])
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
        **({"loss_type": "nll"} if weighted else {}),
    )
    kind, collator = (WeightedTrainer, WeightCollator(_pad_token(tokenizer))) if weighted else (SFTTrainer, None)
    return kind(
        model=model,
        args=arguments,
        train_dataset=_dataset(prepared.train, weighted=weighted),
        eval_dataset=_dataset(prepared.heldout, weighted=weighted) if evaluations else None,
        data_collator=collator,
        processing_class=tokenizer,
        callbacks=callbacks,
    )


def _pad_token(tokenizer: PreTrainedTokenizerBase) -> int:
    return int(tokenizer.eos_token_id if tokenizer.pad_token_id is None else tokenizer.pad_token_id)


class _Line(msgspec.Struct):
    """What training needs of a line of the sample files."""

    input_ids: list[int]
    labels: list[int]
    weights: list[float] | None = None


_ROWS = 1000  # samples in memory at once


def _dataset(path: Path, *, weighted: bool) -> Dataset:
    """The samples of a file, as a table that is mapped into memory: its size does not matter."""
    columns = [("input_ids", pa.list_(pa.int32())), ("labels", pa.list_(pa.int32()))]
    schema = pa.schema([*columns, ("weights", pa.list_(pa.float32()))] if weighted else columns)
    table = path.with_suffix(".arrow")
    with pa.OSFile(str(table), "wb") as file, pa.ipc.new_stream(file, schema) as writer:
        for rows in _chunks(path):
            values: list[Any] = [[row.input_ids for row in rows], [row.labels for row in rows]]
            if weighted:
                values.append([row.weights or [1.0] * len(row.labels) for row in rows])
            writer.write_batch(pa.record_batch([pa.array(v, f.type) for v, f in zip(values, schema, strict=True)], schema=schema))
    return Dataset.from_file(str(table))


def _chunks(path: Path) -> Iterator[list[_Line]]:
    decoder = msgspec.json.Decoder(_Line)
    rows: list[_Line] = []
    with path.open("rb") as file:
        for line in file:
            rows.append(decoder.decode(line))
            if len(rows) == _ROWS:
                yield rows
                rows = []
    if rows:
        yield rows
