"""Every training method for a few steps on this machine: trained, saved, merged, and the merged
logits against the trained ones.

    python bench/gpu/methods.py [--model FOLDER] [--steps 8] [NAME ...]

It runs in an environment that has Luthier's gpu packages.

Each method runs in a home of its own as `luthier train` would run it, by TRL. Without --model it is
the built-in model (where its package is not installed, LUTHIER_BUILTIN_GGUF names its file). It
prints a table on stderr and one JSON object on stdout. "difference" is the mean |trained - merged|
of the log-probabilities on a held-out conversation, computed in float32 where the base is not
quantised, "change" the mean |trained - base|.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from trainer.examples import CAPTAIN

ROOT = Path(__file__).resolve().parents[2]
METHODS: dict[str, dict[str, str]] = {
    "LoRA": {},
    "rsLoRA": {"lora": "rslora = true"},
    "DoRA": {"lora": "dora = true"},
    "LoRA+": {"lora": "plus_ratio = 16.0"},
    "targets": {"lora": 'targets = ["q_proj", "v_proj"]'},
    "NEFTune": {"train": "neftune_alpha = 5.0"},
    "4 bits": {"train": "base_bits = 4"},
    "4 bits, paged 8-bit AdamW": {"train": 'base_bits = 4\noptimizer = "paged_adamw_8bit"'},
    "4 bits, paged 32-bit AdamW": {"train": 'base_bits = 4\noptimizer = "paged_adamw_32bit"'},
    "4 bits, DoRA": {"train": "base_bits = 4", "lora": "dora = true"},
    "4 bits, checkpointing": {"train": 'base_bits = 4\ngradient_checkpointing = "standard"'},
    "8 bits": {"train": "base_bits = 8"},
    "float8": {"train": "float8 = true"},
    "8-bit AdamW": {"train": 'optimizer = "adamw_8bit"'},
    "checkpointing": {"train": 'gradient_checkpointing = "standard"'},
    "flex attention": {"train": 'attention = "flex"'},
    "new tokens": {"tokens": 'add = ["<|aye|>"]'},
    "4 bits, new tokens": {"train": "base_bits = 4", "tokens": 'add = ["<|aye|>"]'},
    "full": {"train": 'method = "full"'},
    "full, 16 bits": {"train": 'method = "full"\nbase_bits = 16\noptimizer = "adamw_8bit"'},
}


def write_recipe(folder: Path, model: str, steps: int, sections: dict[str, str]) -> Path:
    data = CAPTAIN / "train.jsonl"
    full = "full" in sections.get("train", "")
    lines = [
        f'model = "{model}"',
        f'data = ["{data}"]',
        'engine = "trl"',
        "certify = false",
        "[train]",
        f"epochs = {steps / 36}",
    ]
    lines += [
        f"learning_rate = {1e-5 if full else 2e-4}",
        "global_batch = 4",
        sections.get("train", ""),
    ]
    lines += [
        "[lora]",
        sections.get("lora", ""),
        "[tokens]",
        sections.get("tokens", ""),
        "[evaluation]",
        "times = 1",
        "samples = 0",
    ]
    path = folder / "recipe.toml"
    path.write_text("\n".join(lines) + "\n")
    return path


def train(model: str, steps: int, sections: dict[str, str]) -> dict[str, Any]:
    """One run, in this process's home; its figures, or what it died of."""
    from jobs.events import Follower
    from jobs.job import wait
    from jobs.state import Done
    from trainer.launch import train as start
    from trainer.recipe import load

    began = time.monotonic()
    job = start(load(write_recipe(Path(tempfile.mkdtemp()), model, steps, sections)))
    wait(job, 900.0)
    state = job.state()
    if not isinstance(state, Done):
        return {"error": f"{state}", "log": job.log_path.read_text()[-1500:]}
    follower, events = Follower(job.events_path), []
    while some := follower.read():
        events += some
    step_events = [event for event in events if event["kind"] == "step"]
    figures = {
        "steps": len(step_events),
        "first_loss": step_events[0]["loss"],
        "last_loss": step_events[-1]["loss"],
        "job": str(job.directory),
    }
    return {**figures, "seconds": round(time.monotonic() - began, 1)}


def compare(job_directory: Path, into: str) -> dict[str, Any]:
    """Merge, and compare with the model that training had. In a process of its own: it holds two
    models."""
    import torch
    from peft import PeftModel
    from peft.utils import set_peft_model_state_dict
    from safetensors.torch import load_file
    from transformers import AutoModelForCausalLM

    from jobs.job import Job
    from models.merge.merging import merge
    from models.merge.plan import plan_merge
    from models.runs import Run
    from trainer.launch import frozen_recipe
    from trainer.plan.plan import Plan
    from trainer.run.checkpoints import complete_checkpoints
    from trainer.run.loading import load_model
    from trainer.run.tokens_and_template import run_tokenizer

    job = Job(job_directory)
    plan, recipe = Plan.from_json(job.spec.settings), frozen_recipe(job)
    device = "cuda" if plan.device == "gpu" else "cpu"
    checkpoint, base = complete_checkpoints(job.directory)[-1].path, Path(plan.model_directory)
    trained = load_model(plan, recipe, run_tokenizer(job.directory, base, recipe.tokens))
    merged = job.directory / "model"
    if isinstance(trained, PeftModel):
        set_peft_model_state_dict(trained, load_file(checkpoint / "adapter_model.safetensors"))
        merged = job.directory / f"merged-{into}"
        merge(
            plan_merge(base, job.directory / "adapter", into=into),  # type: ignore[arg-type]
            merged,
            stops=lambda _: Run(job).trained_stops or [],
        )
    else:
        trained = AutoModelForCausalLM.from_pretrained(checkpoint, dtype=torch.float32)
    row = json.loads((job.directory / "data" / "heldout.jsonl").read_text().splitlines()[0])
    ids = torch.tensor([row["input_ids"]], device=device)

    def says(model: Any, *, placed: bool = False) -> torch.Tensor:
        size = model.get_input_embeddings().weight.shape[0]
        with torch.inference_mode():
            there = (model if placed else model.to(device)).float().eval()
            return there(input_ids=ids.clamp(max=size - 1)).logits[0].float().cpu()

    # bitsandbytes has placed its own
    trained_says = says(trained, placed=plan.compute.base_bits < 16).log_softmax(-1)
    del trained
    merged_says, before = (
        says(AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16)).log_softmax(-1)
        for folder in (merged, base)
    )
    size = min(trained_says.shape[-1], before.shape[-1])
    return {
        "into": into,
        "difference": round(float((trained_says - merged_says).abs().mean()), 5),
        "change": round(float((trained_says[:, :size] - before[:, :size]).abs().mean()), 5),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", help=", ".join(METHODS))
    parser.add_argument("--model", default="builtin")
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--compare", nargs=2, metavar=("JOB", "INTO"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.compare:
        print(json.dumps(compare(Path(options.compare[0]), options.compare[1])))
        return
    os.environ.setdefault("LUTHIER_HOME", tempfile.mkdtemp(prefix="luthier-methods-"))
    if options.model == "builtin":
        from jobs.job import wait
        from models.registry import prepare_builtin

        if (job := prepare_builtin()) is not None:
            wait(job, 300.0)
    rows = {}
    for name in options.names or METHODS:
        rows[name] = row = train(options.model, options.steps, METHODS[name])
        if "error" not in row:
            ways = ["base", "dequantised"] if name.startswith("4 bits") else ["base"]
            row["merged"] = [_compared(row["job"], into) for into in ways]
        print(_line(name, row), file=sys.stderr, flush=True)
    versions = {
        name: importlib.metadata.version(name)
        for name in ("torch", "transformers", "trl", "peft", "bitsandbytes")
        if _installed(name)
    }
    print(json.dumps({"versions": versions, "methods": rows}, indent=1))


def _compared(job: str, into: str) -> dict[str, Any]:
    answer = subprocess.run(
        [sys.executable, __file__, "--compare", job, into],
        capture_output=True,
        text=True,
        check=False,
    )
    return (
        json.loads(answer.stdout.splitlines()[-1])
        if answer.returncode == 0
        else {"into": into, "error": answer.stderr[-1500:]}
    )


def _line(name: str, row: dict[str, Any]) -> str:
    if "error" in row:
        return f"{name:28} FAILED: {row['error'][:300]}"
    ways = ", ".join(
        (
            f"{merge['into']}: FAILED {merge['error'][-200:]}"
            if "error" in merge
            else f"{merge['into']}: {merge['difference']} of {merge['change']}"
        )
        for merge in row["merged"]
    )
    return (
        f"{name:28} {row['steps']:3} steps  {row['first_loss']:.3f} -> {row['last_loss']:.3f} "
        f" {row['seconds']:6.1f} s  {ways}"
    )


def _installed(name: str) -> bool:
    try:
        return bool(importlib.metadata.version(name))
    except importlib.metadata.PackageNotFoundError:
        return False


if __name__ == "__main__":
    main()
