"""Training speed and memory of bare engines on one GPU: the tutorials' recipes, and the settings that Luthier would choose.

    python -P bench/gpu/speed.py prepare SAMPLES.jsonl            # a model of random weights, 8B shapes of Llama 3, in /dev/shm or --work
    python -P bench/gpu/speed.py all unsloth-default trl-default  # each setting in a process of its own; one JSON line each

SAMPLES.jsonl comes from `luthier data tokens`: input_ids and labels. Tokens are counted without padding, after the steps that compile.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

WARM_STEPS = 6


@dataclass(frozen=True)
class Setting:
    """`batches` are (rows, most tokens a row). `layout`: "padded", "bfd" (TRL's packing), or "flat": rows behind each other, unpadded."""

    engine: str
    batches: tuple[tuple[int, int], ...]
    bits: int = 16
    layout: str = "flat"
    checkpointing: str = "none"
    rank: int = 16
    model: str = "8b"
    steps: int = 14
    optimizer: str = "adamw_8bit"
    defaults: bool = False


SETTINGS = {
    "unsloth-default": Setting("unsloth", ((8, 2048),), layout="bfd", checkpointing="unsloth"),
    "tutorial": Setting("unsloth", ((16, 512),), bits=4, layout="padded", checkpointing="unsloth"),
    "trl-default": Setting("trl", ((8, 2048),), layout="padded", checkpointing="standard", defaults=True),
    "flat": Setting("unsloth", ((2, 2048), (4, 2048), (8, 2048), (12, 2048), (16, 512))),
    "flat-offloaded": Setting("unsloth", ((4, 2048), (8, 2048), (16, 2048), (32, 2048)), checkpointing="unsloth"),
    "flat-standard": Setting("unsloth", ((4, 2048), (16, 2048)), checkpointing="standard"),
    "flat-4bit": Setting("unsloth", ((2, 2048), (4, 2048), (8, 2048)), bits=4),
    "flat-4bit-offloaded": Setting("unsloth", ((16, 512), (8, 2048), (16, 2048)), bits=4, checkpointing="unsloth"),
    "trl-flat": Setting("trl", ((1, 2048), (2, 2048), (4, 2048)), optimizer="adamw_torch_fused"),
    "flat-rank64": Setting("unsloth", ((4, 2048),), rank=64),
}

SHAPES = {
    "8b": {"hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32, "num_attention_heads": 32, "num_key_value_heads": 8},
    "1b": {"hidden_size": 2048, "intermediate_size": 8192, "num_hidden_layers": 16, "num_attention_heads": 32, "num_key_value_heads": 8},
}


def prepare(samples: Path, work: Path, tokenizer: Path, models: list[str]) -> None:
    """Random weights in bfloat16, made on the GPU, saved as any model is; the tokenizer of a real one."""
    import shutil

    import torch
    from transformers import AutoModelForCausalLM, LlamaConfig

    work.mkdir(parents=True, exist_ok=True)
    shutil.copy(samples, work / "samples.jsonl")
    for name in models:
        if (work / name / "config.json").exists():
            continue
        config = LlamaConfig(
            **SHAPES[name],
            vocab_size=128256,
            max_position_embeddings=8192,
            rope_theta=500000.0,
            tie_word_embeddings=False,
            bos_token_id=1,
            eos_token_id=2,
        )
        started = time.monotonic()
        with torch.device("cuda"):
            torch.set_default_dtype(torch.bfloat16)
            model = AutoModelForCausalLM.from_config(config)
        model.save_pretrained(work / name, max_shard_size="2GB")
        for path in [*tokenizer.glob("*token*"), *tokenizer.glob("*.jinja")]:
            shutil.copy(path, work / name)
        del model
        print(json.dumps({"made": name, "seconds": round(time.monotonic() - started, 1)}), flush=True)


def rows_of(path: Path, length: int) -> list[dict[str, Any]]:
    rows = []
    with path.open() as file:
        for line in file:
            row = json.loads(line)
            ids, labels = row["input_ids"][:length], row["labels"][:length]
            if any(label != -100 for label in labels):
                rows.append({"input_ids": ids, "labels": labels})
    return rows


def measure(name: str, setting: Setting, work: Path) -> None:
    """Prints a line a batch size; the model and its compiled kernels stay from one to the next."""
    os.environ.setdefault("UNSLOTH_COMPILE_LOCATION", str(work / "unsloth_cache"))
    if setting.engine == "unsloth":
        import unsloth  # noqa: F401  # before transformers, trl and peft
    import torch
    from transformers import AutoTokenizer

    directory = work / setting.model
    model = load(setting, str(directory))
    tokenizer = AutoTokenizer.from_pretrained(directory)
    tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token
    loaded = torch.cuda.memory_allocated()
    for rows, length in setting.batches:
        try:
            found = train(setting, model, tokenizer, rows, length, work)
        except torch.OutOfMemoryError as error:
            found = {"failed": str(error)[:300]}
        head = {"name": name, **asdict(setting), "rows": rows, "length": length, "loaded_gb": round(loaded / 1e9, 2)}
        head.pop("batches")
        print("RESULT " + json.dumps(head | found), flush=True)


def flat(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Rows behind each other as one, positions from 0 in each; no label reaches over a border."""
    import torch

    lengths = [len(row["input_ids"]) for row in rows]
    labels = [label for row in rows for label in [-100, *row["labels"][1:]]]
    return {
        "input_ids": torch.tensor([[token for row in rows for token in row["input_ids"]]]),
        "labels": torch.tensor([labels]),
        "position_ids": torch.tensor([[position for length in lengths for position in range(length)]]),
        "packed_seq_lengths": torch.tensor(lengths, dtype=torch.int32),
    }


def arguments(setting: Setting, rows: int, length: int, work: Path) -> dict[str, Any]:
    """What SFTConfig gets."""
    chosen: dict[str, Any] = {
        "output_dir": str(work / "out"),
        "per_device_train_batch_size": rows,
        "gradient_accumulation_steps": 1,  # Unsloth's own default is 2
        "max_steps": setting.steps,
        "logging_steps": 1,
        "report_to": "none",
        "save_strategy": "no",
        "seed": 42,
        "learning_rate": 2e-4,
        "disable_tqdm": True,
        "bf16": True,
        "gradient_checkpointing": setting.checkpointing != "none",
    }
    if not setting.defaults:
        chosen["optim"] = setting.optimizer
    if setting.layout == "bfd":
        return {**chosen, "packing": True, "max_length": length}
    if setting.layout == "flat":
        return {**chosen, "max_length": None, "dataset_kwargs": {"skip_prepare_dataset": True}, "remove_unused_columns": False}
    return {**chosen, "max_length": length}


def collator(setting: Setting) -> Callable[[list[dict[str, Any]]], dict[str, Any]] | None:
    if setting.layout != "flat":
        return None
    if setting.engine == "unsloth":
        return flat
    return lambda rows: {key: value for key, value in flat(rows).items() if key != "packed_seq_lengths"}


def train(setting: Setting, model: Any, tokenizer: Any, rows: int, length: int, work: Path) -> dict[str, Any]:
    import torch
    from datasets import Dataset
    from trl import SFTConfig, SFTTrainer

    tokens: list[int] = []
    times: list[float] = []
    shapes: dict[str, Any] = {}
    trainer = SFTTrainer(
        model=model,
        args=SFTConfig(**arguments(setting, rows, length, work)),
        train_dataset=Dataset.from_list(rows_of(work / "samples.jsonl", length)),
        processing_class=tokenizer,
        data_collator=collator(setting),
    )
    inner = trainer.training_step

    def training_step(model: Any, inputs: Any, *rest: Any, **kwargs: Any) -> Any:
        torch.cuda.synchronize()
        times.append(time.monotonic())
        mask = inputs.get("attention_mask")
        tokens.append(int(mask.sum()) if mask is not None else int(inputs["input_ids"].numel()))
        shapes.update({key: list(value.shape) for key, value in inputs.items() if hasattr(value, "shape")})
        return inner(model, inputs, *rest, **kwargs)

    trainer.training_step = training_step
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    trainer.train()
    if len(tokens) != setting.steps:
        raise RuntimeError(f"{len(tokens)} micro-batches in {setting.steps} steps: each was to be one")
    steps = [later - earlier for earlier, later in pairwise(times)]  # each with its backward pass, its update and the next batch
    measured = list(zip(tokens, steps, strict=False))[WARM_STEPS:]
    return {
        "tokens_per_second": round(sum(count for count, _ in measured) / sum(seconds for _, seconds in measured)),
        "step_seconds": [round(seconds, 2) for seconds in steps],
        "tokens_per_step": round(statistics.mean(count for count, _ in measured)),
        "most_tokens": max(tokens),
        "peak_allocated_gb": round(torch.cuda.max_memory_allocated() / 1e9, 2),
        "peak_reserved_gb": round(torch.cuda.max_memory_reserved() / 1e9, 2),
        "losses": [round(float(entry["loss"]), 3) for entry in trainer.state.log_history if "loss" in entry][::4],
        "shapes": shapes,
    }


def load(setting: Setting, directory: str) -> Any:
    targets = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
    if setting.engine == "unsloth":
        from unsloth import FastLanguageModel

        model, _ = FastLanguageModel.from_pretrained(
            directory, max_seq_length=2048, dtype=None, load_in_4bit=setting.bits == 4, local_files_only=True, use_exact_model_name=True
        )
        checkpointing: Any = {"none": False, "standard": True, "unsloth": "unsloth"}[setting.checkpointing]
        return FastLanguageModel.get_peft_model(
            model,
            r=setting.rank,
            target_modules=targets,
            lora_alpha=setting.rank,
            lora_dropout=0,
            bias="none",
            use_gradient_checkpointing=checkpointing,
            random_state=42,
        )
    import torch
    from peft import LoraConfig, get_peft_model, prepare_model_for_kbit_training
    from transformers import AutoModelForCausalLM, BitsAndBytesConfig

    quantization = (
        BitsAndBytesConfig(
            load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True, bnb_4bit_compute_dtype=torch.bfloat16
        )
        if setting.bits == 4
        else None
    )
    model = AutoModelForCausalLM.from_pretrained(
        directory, dtype=torch.bfloat16, device_map={"": 0}, attn_implementation="sdpa", quantization_config=quantization
    )
    model.config.use_cache = False
    if quantization is not None:
        model = prepare_model_for_kbit_training(model, use_gradient_checkpointing=setting.checkpointing != "none")
    return get_peft_model(model, LoraConfig(r=setting.rank, lora_alpha=setting.rank, target_modules=targets, task_type="CAUSAL_LM"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", choices=["prepare", "one", "all"])
    parser.add_argument("names", nargs="*")
    parser.add_argument("--work", type=Path, default=Path("/dev/shm/luthier-bench"))
    parser.add_argument("--tokenizer", type=Path)
    parser.add_argument("--models", default="8b")
    parser.add_argument("--limit", type=float, default=110.0, help="seconds a setting may take")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    if options.command == "prepare":
        prepare(Path(options.names[0]), options.work, options.tokenizer, options.models.split(","))
    elif options.command == "one":
        measure(options.names[0], SETTINGS[options.names[0]], options.work)
    else:
        for name in options.names or SETTINGS:
            run_apart(name, options)


def run_apart(name: str, options: argparse.Namespace) -> None:
    command = [sys.executable, "-P", __file__, "one", name, "--work", str(options.work)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=options.limit, check=False)
        output = done.stdout + done.stderr
    except subprocess.TimeoutExpired as error:
        output = f"timeout\n{(error.stdout or b'').decode()[-1500:]}{(error.stderr or b'').decode()[-1500:]}"
    found = [line.removeprefix("RESULT ") for line in output.splitlines() if line.startswith("RESULT ")]
    for line in found or [json.dumps({"name": name, "failed": output[-1200:]})]:
        print(line, flush=True)
        if options.out:
            with (options.out / "results.jsonl").open("a") as file:
                file.write(line + "\n")
    if options.out:
        (options.out / f"{name}.log").write_text(output[-200_000:])


if __name__ == "__main__":
    main()
