"""Training speed and memory on one GPU: bare engines with the tutorials' recipes and with flat
batches, and Luthier's own runs.

    python -P bench/gpu/speed.py prepare SAMPLES.jsonl --tokenizer MODEL --conversations CHATS.jsonl
    # each setting in a process of its own; one JSON line each
    python -P bench/gpu/speed.py all unsloth-default luthier-auto
    # Luthier against these, and against bare engines on its samples
    python -P bench/gpu/speed.py ratios
    # on a CPU: that it runs
    python -P bench/gpu/speed.py ratios --models tiny --rows 2 --luthier luthier-trl-flat

`prepare` makes a model of random weights, 8B shapes of Llama 3, in /dev/shm or --work.
SAMPLES.jsonl, input_ids and labels, comes from `luthier data tokens CHATS.jsonl`. Tokens are
counted without padding, over settled steps (bench/gpu/settled.py).
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))

from bench.gpu.settled import Unsettled, speed, speed_of_run


@dataclass(frozen=True)
class Setting:
    """`batches` are (rows, most tokens a row). `layout`: "padded", "bfd" (TRL's packing), or
    "flat": rows behind each other, unpadded."""

    engine: str
    batches: tuple[tuple[int, int], ...]
    bits: int = 16
    layout: str = "flat"
    checkpointing: str = "none"
    rank: int = 16
    model: str = "8b"
    steps: int = 20
    optimizer: str = "adamw_8bit"
    defaults: bool = False
    samples: str = "samples.jsonl"


@dataclass(frozen=True)
class Luthier:
    """A run of Luthier's own worker, `rows` conversations of at most `length` tokens a step;
    `train` are further keys, `bare` is the engine that a bare script has on the same samples."""

    engine: str
    rows: int = 8
    length: int = 2048
    train: str = ""
    bare: str = ""


SETTINGS = {
    "unsloth-default": Setting("unsloth", ((8, 2048),), layout="bfd", checkpointing="unsloth"),
    "tutorial": Setting("unsloth", ((16, 512),), bits=4, layout="padded", checkpointing="unsloth"),
    "trl-default": Setting(
        "trl", ((8, 2048),), layout="padded", checkpointing="standard", defaults=True
    ),
    "flat": Setting("unsloth", ((2, 2048), (4, 2048), (8, 2048), (12, 2048), (16, 512))),
    "flat-offloaded": Setting(
        "unsloth", ((4, 2048), (8, 2048), (16, 2048), (32, 2048)), checkpointing="unsloth"
    ),
    "flat-standard": Setting("unsloth", ((4, 2048), (16, 2048)), checkpointing="standard"),
    "flat-4bit": Setting("unsloth", ((2, 2048), (4, 2048), (8, 2048)), bits=4),
    "flat-4bit-offloaded": Setting(
        "unsloth", ((16, 512), (8, 2048), (16, 2048)), bits=4, checkpointing="unsloth"
    ),
    "trl-flat": Setting("trl", ((1, 2048), (2, 2048), (4, 2048)), optimizer="adamw_torch_fused"),
    "flat-rank64": Setting("unsloth", ((4, 2048),), rank=64),
}

_SAME = (
    "micro_batch = {rows}\npadding_free = true\nbase_bits = 16\nfloat8 ="
    ' false\ngradient_checkpointing = "none"\noptimizer = "adamw"\n'
)
LUTHIER = {
    "luthier-auto": Luthier("auto"),
    "luthier-auto-short": Luthier("auto", rows=16, length=512),
    # on 80 GB or more it comes to what `_SAME` says
    "luthier-bfloat16": Luthier("auto", train="float8 = false", bare="unsloth"),
    "luthier-bfloat16-short": Luthier("auto", rows=16, length=512, train="float8 = false"),
    "luthier-unsloth-flat": Luthier("unsloth", train=_SAME, bare="unsloth"),
    "luthier-trl-flat": Luthier("trl", rows=4, train=_SAME, bare="trl"),
}
BARE = {
    **dict.fromkeys(
        ("luthier-auto", "luthier-bfloat16"), ("unsloth-default", "trl-default", "tutorial")
    ),
    **dict.fromkeys(("luthier-auto-short", "luthier-bfloat16-short"), ("tutorial",)),
}
RECIPE = """
model = "{model}"
data = ["{data}"]
engine = "{engine}"
certify = false
heldout.share = 0.0
evaluation = {{ times = 0, samples = 0 }}
checkpoints.every_minutes = 0.0
[train]
epochs = 1.0
global_batch = {rows}
max_length = {length}
{train}
[lora]
r = 16
"""

SHAPES = {
    "tiny": {
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
    },
    "8b": {
        "hidden_size": 4096,
        "intermediate_size": 14336,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
    },
    # with 10 bytes a weight, as full fine-tuning takes at least, more than one H200 holds
    "14b": {
        "hidden_size": 4096,
        "intermediate_size": 14336,
        "num_hidden_layers": 60,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
    },
    "1b": {
        "hidden_size": 2048,
        "intermediate_size": 8192,
        "num_hidden_layers": 16,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
    },
}


def prepare(samples: Path, work: Path, tokenizer: Path, models: list[str]) -> None:
    work.mkdir(parents=True, exist_ok=True)
    shutil.copy(samples, work / "samples.jsonl")
    make_models(work, tokenizer, models)


def make_models(work: Path, tokenizer: Path, models: list[str]) -> None:
    """Random weights in bfloat16, made on the GPU if there is one, saved as any model is; the
    tokenizer of a real one. What is there already stays."""
    import torch
    from transformers import AutoModelForCausalLM, LlamaConfig

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
        with torch.device("cuda" if torch.cuda.is_available() else "cpu"):
            torch.set_default_dtype(torch.bfloat16)
            model = AutoModelForCausalLM.from_config(config)
        model.save_pretrained(work / name, max_shard_size="2GB")
        for path in [*tokenizer.glob("*token*"), *tokenizer.glob("*.jinja")]:
            shutil.copy(path, work / name)
        del model
        print(
            json.dumps({"made": name, "seconds": round(time.monotonic() - started, 1)}), flush=True
        )


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
    loaded = torch.cuda.memory_allocated() if torch.cuda.is_available() else 0
    for rows, length in setting.batches:
        try:
            figures = train(setting, model, tokenizer, rows, length, work)
        except (torch.OutOfMemoryError, Unsettled) as error:
            figures = {"failed": str(error)[:300]}
        head = {
            "name": name,
            **asdict(setting),
            "rows": rows,
            "length": length,
            "loaded_gb": round(loaded / 1e9, 2),
        }
        head.pop("batches")
        print("RESULT " + json.dumps(head | figures), flush=True)


def flat(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Rows behind each other as one, positions from 0 in each; no label reaches over a border."""
    import torch

    lengths = [len(row["input_ids"]) for row in rows]
    labels = [label for row in rows for label in [-100, *row["labels"][1:]]]
    return {
        "input_ids": torch.tensor([[token for row in rows for token in row["input_ids"]]]),
        "labels": torch.tensor([labels]),
        "position_ids": torch.tensor(
            [[position for length in lengths for position in range(length)]]
        ),
        "packed_seq_lengths": torch.tensor(lengths, dtype=torch.int32),
    }


def arguments(setting: Setting, rows: int, length: int, work: Path) -> dict[str, Any]:
    """What SFTConfig gets."""
    import torch

    settings: dict[str, Any] = {
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
        settings["optim"] = setting.optimizer
    if setting.layout == "bfd":
        return {**settings, "packing": True, "max_length": length}
    if not torch.cuda.is_available():
        settings |= {"use_cpu": True}
    if setting.layout == "flat":
        return {
            **settings,
            "max_length": None,
            "dataset_kwargs": {"skip_prepare_dataset": True},
            "remove_unused_columns": False,
        }
    return {**settings, "max_length": length}


def collator(setting: Setting) -> Callable[[list[dict[str, Any]]], dict[str, Any]] | None:
    if setting.layout != "flat":
        return None
    if setting.engine == "unsloth":
        return flat
    return lambda rows: {
        key: value for key, value in flat(rows).items() if key != "packed_seq_lengths"
    }


def train(
    setting: Setting, model: Any, tokenizer: Any, rows: int, length: int, work: Path
) -> dict[str, Any]:
    import torch
    from datasets import Dataset
    from trl import SFTConfig, SFTTrainer

    gpu = torch.cuda.is_available()
    tokens: list[int] = []
    times: list[float] = []
    shapes: dict[str, Any] = {}
    trainer = SFTTrainer(
        model=model,
        args=SFTConfig(**arguments(setting, rows, length, work)),
        train_dataset=Dataset.from_list(rows_of(work / setting.samples, length)),
        processing_class=tokenizer,
        data_collator=collator(setting),
    )
    inner = trainer.training_step

    def training_step(model: Any, inputs: Any, *arguments: Any, **kwargs: Any) -> Any:
        if gpu:
            torch.cuda.synchronize()
        times.append(time.monotonic())
        mask = inputs.get("attention_mask")
        tokens.append(int(mask.sum()) if mask is not None else int(inputs["input_ids"].numel()))
        shapes.update(
            {key: list(value.shape) for key, value in inputs.items() if hasattr(value, "shape")}
        )
        return inner(model, inputs, *arguments, **kwargs)

    trainer.training_step = training_step
    if gpu:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    trainer.train()
    if len(tokens) != setting.steps:
        raise RuntimeError(
            f"{len(tokens)} micro-batches in {setting.steps} steps: each was to be one"
        )
    # each with its backward pass, its update and the next batch
    steps = [later - earlier for earlier, later in pairwise(times)]
    return {
        **speed(tokens[:-1], steps),
        "step_seconds": [round(seconds, 2) for seconds in steps],
        "most_tokens": max(tokens),
        "peak_allocated_gb": round(torch.cuda.max_memory_allocated() / 1e9, 2) if gpu else None,
        "peak_reserved_gb": round(torch.cuda.max_memory_reserved() / 1e9, 2) if gpu else None,
        "losses": [
            round(float(entry["loss"]), 3) for entry in trainer.state.log_history if "loss" in entry
        ][::4],
        "shapes": shapes,
    }


def load(setting: Setting, directory: str) -> Any:
    targets = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
    if setting.engine == "unsloth":
        from unsloth import FastLanguageModel

        model, _ = FastLanguageModel.from_pretrained(
            directory,
            max_seq_length=2048,
            dtype=None,
            load_in_4bit=setting.bits == 4,
            local_files_only=True,
            use_exact_model_name=True,
        )
        checkpointing: Any = {"none": False, "standard": True, "unsloth": "unsloth"}[
            setting.checkpointing
        ]
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
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=torch.bfloat16,
        )
        if setting.bits == 4
        else None
    )
    model = AutoModelForCausalLM.from_pretrained(
        directory,
        dtype=torch.bfloat16,
        device_map={"": 0} if torch.cuda.is_available() else None,
        attn_implementation="sdpa",
        quantization_config=quantization,
    )
    model.config.use_cache = False
    if quantization is not None:
        model = prepare_model_for_kbit_training(
            model, use_gradient_checkpointing=setting.checkpointing != "none"
        )
    return get_peft_model(
        model,
        LoraConfig(
            r=setting.rank, lora_alpha=setting.rank, target_modules=targets, task_type="CAUSAL_LM"
        ),
    )


def run_luthier(name: str, setting: Luthier, work: Path, model: str) -> None:
    """A run as `luthier train` starts one, on so many conversations that it has as many steps as a
    bare engine."""
    os.environ.setdefault("LUTHIER_HOME", str(work / "home"))
    from jobs.events import parse_line
    from jobs.job import wait
    from trainer.launch import train as start
    from trainer.recipe import load as load_recipe

    steps, rows = Setting(setting.engine, ()).steps, setting.rows
    data = work / f"{name}.jsonl"
    with (work / "conversations.jsonl").open() as file:
        data.write_text("".join(islice(file, rows * steps)))
    recipe = work / f"{name}.toml"
    train = setting.train.format(rows=rows)
    recipe.write_text(
        RECIPE.format(
            model=work / model,
            data=data,
            engine=setting.engine,
            rows=rows,
            length=setting.length,
            train=train,
        )
    )
    job = start(load_recipe(recipe))
    wait(job)
    recorded = [
        event
        for line in job.events_path.read_bytes().splitlines()
        if (event := parse_line(line)) is not None
    ]
    plan = [event for event in recorded if event["kind"] == "plan"][-1]
    keys = (
        "engine",
        "base_bits",
        "float8",
        "padding_free",
        "attention",
        "optimizer",
        "gradient_checkpointing",
        "micro_batch",
        "accumulation",
    )
    figures: dict[str, Any] = {
        "name": name,
        "model": model,
        "rows": rows,
        "length": setting.length,
        **{key: plan[key] for key in (*keys, "reasons")},
        "job": job.id,
        # what LUTHIER_TRIALS=always has a run of so few steps measure first
        "trials": [event for event in recorded if event["kind"] == "trials"],
    }
    taken = [event for event in recorded if event["kind"] == "step"]
    errors = [event for event in recorded if event["kind"] == "error"]
    try:
        figures |= speed_of_run(recorded)
    except Unsettled as error:
        figures["failed"] = errors[-1:] or str(error)
    else:
        figures["peak_allocated_gb"] = round(taken[-1]["tensor_bytes"] / 1e9, 2)
        shutil.copy(job.directory / "data" / "train.jsonl", work / f"{name}.samples.jsonl")
    print("RESULT " + json.dumps(figures), flush=True)


def bare_setting(name: str, setting: Luthier, model: str) -> Setting:
    """A bare script with the settings of the Luthier run `name`, on the samples that it has
    made."""
    return Setting(
        setting.bare,
        ((setting.rows, setting.length),),
        model=model,
        optimizer="adamw_torch_fused",
        samples=f"{name}.samples.jsonl",
    )


def ratios(options: argparse.Namespace) -> None:
    """Tokens per second of Luthier over those of the others: all in one call, one after the
    other."""
    our_names = options.luthier.split(",") if options.luthier else [*LUTHIER]
    pairs = [(name, other) for name in our_names for other in (*BARE.get(name, ()), f"bare-{name}")]
    rivals = [other for _, other in pairs if other in SETTINGS]
    names = dict.fromkeys(
        [*rivals, *our_names, *(f"bare-{name}" for name in our_names if LUTHIER[name].bare)]
    )
    speeds: dict[str, float] = {}
    for name in names:
        results = run_apart(name, options)
        speeds[name] = max((result.get("tokens_per_second", 0) for result in results), default=0)
    ratio_of = {
        f"{ours} / {other}": round(speeds[ours] / speeds[other], 3)
        for ours, other in pairs
        if speeds.get(ours) and speeds.get(other)
    }
    print(json.dumps({"ratios": ratio_of}), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("command", choices=["prepare", "one", "all", "ratios"])
    parser.add_argument("names", nargs="*")
    parser.add_argument("--work", type=Path, default=Path("/dev/shm/luthier-bench"))
    parser.add_argument("--tokenizer", type=Path)
    parser.add_argument(
        "--conversations",
        type=Path,
        help="the conversations that the samples were made of, for Luthier's own runs",
    )
    parser.add_argument(
        "--models", default="8b", help="those to prepare; the one that Luthier's runs train"
    )
    parser.add_argument(
        "--rows", type=int, help="conversations in a step of Luthier's runs, other than their own"
    )
    parser.add_argument(
        "--luthier",
        help=(
            "which of Luthier's runs are compared; without luthier-auto and luthier-bfloat16"
            " others' defaults are left out"
        ),
    )
    parser.add_argument("--limit", type=float, default=180.0, help="seconds a setting may take")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    if options.command == "prepare":
        prepare(Path(options.names[0]), options.work, options.tokenizer, options.models.split(","))
        if options.conversations:
            shutil.copy(options.conversations, options.work / "conversations.jsonl")
    elif options.command == "ratios":
        ratios(options)
    elif options.command == "one":
        name = options.names[0]
        if (kind := name.removeprefix("bare-")) in LUTHIER:
            luthier = replace(LUTHIER[kind], rows=options.rows or LUTHIER[kind].rows)
            if name == kind:
                run_luthier(name, luthier, options.work, options.models)
            else:
                measure(name, bare_setting(kind, luthier, options.models), options.work)
        else:
            measure(name, SETTINGS[name], options.work)
    else:
        for name in options.names or SETTINGS:
            run_apart(name, options)


def run_apart(name: str, options: argparse.Namespace) -> list[dict[str, Any]]:
    command = [sys.executable, "-P", __file__, "one", name, "--work", str(options.work)]
    command += [
        "--models",
        options.models,
        *(["--rows", str(options.rows)] if options.rows else []),
    ]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=options.limit, check=False
        )
        output = done.stdout + done.stderr
    except subprocess.TimeoutExpired as error:
        streams = (error.stdout or b"", error.stderr or b"")
        output = "timeout\n" + "".join(stream.decode()[-1500:] for stream in streams)
    results = [
        line.removeprefix("RESULT ") for line in output.splitlines() if line.startswith("RESULT ")
    ]
    for line in results or [json.dumps({"name": name, "failed": output[-1200:]})]:
        print(line, flush=True)
        if options.out:
            with (options.out / "results.jsonl").open("a") as file:
                file.write(line + "\n")
    if options.out:
        (options.out / f"{name}.log").write_text(output[-200_000:])
    return [json.loads(line) for line in results]


if __name__ == "__main__":
    main()
