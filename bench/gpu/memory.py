"""Measured against predicted memory, by runs of Luthier's own: bits x checkpointing x layout x rank
x size.

    # models of random weights
    python -P bench/gpu/speed.py prepare SAMPLES.jsonl --tokenizer DIR --models 8b,1b
    # about a minute a setting
    python -P bench/gpu/memory.py [--work DIR] [--out peaks.jsonl] [NAME ...]
    # only the predictions; needs no GPU
    python -P bench/gpu/memory.py --predict [NAME ...]

One JSON line a setting: what was predicted for the largest micro-batch, what its calibration
measured, and the most that the steps of the run took. `--out` appends what bench/gpu/peaks.py
reads.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

from bench.gpu.peaks import SHAPES  # noqa: E402
from jobs.events import Event, Follower  # noqa: E402
from jobs.job import Job  # noqa: E402
from jobs.state import Alive, Done  # noqa: E402
from trainer.launch import train  # noqa: E402
from trainer.plan.compute import Compute  # noqa: E402
from trainer.plan.memory.predict import Setting, predict  # noqa: E402
from trainer.recipe import Recipe, decode  # noqa: E402

_WORDS = (
    "the",
    "sea",
    "wind",
    "rope",
    "sail",
    "and",
    "anchor",
    "north",
    "star",
    "deck",
    "harbour",
    "tide",
    "of",
    "to",
    "in",
    "it",
    "is",
    "was",
)


@dataclass(frozen=True)
class Case:
    """`conversations` at once, each of at most `length` tokens: `words` says from which to which
    share of it as words."""

    engine: str
    model: str
    bits: int
    checkpointing: str
    conversations: int
    length: int = 2048
    rank: int = 16
    padding_free: bool = True
    optimizer: str = "adamw"
    dropout: float = 0.0
    dora: bool = False
    method: str = "lora"
    words: tuple[float, float] = (0.7, 0.97)


CASES = {
    "16-standard": Case("unsloth", "8b", 16, "standard", 8),
    "16-offloaded": Case("unsloth", "8b", 16, "unsloth", 8),
    "16-offloaded-32": Case("unsloth", "8b", 16, "unsloth", 32),
    "16-rank-128": Case("unsloth", "8b", 16, "none", 4, rank=128),
    "16-short": Case("unsloth", "8b", 16, "none", 32, length=256),
    "16-long": Case("unsloth", "8b", 16, "none", 1, length=8192),
    "4-none": Case("unsloth", "8b", 4, "none", 4),
    "4-standard": Case("unsloth", "8b", 4, "standard", 8),
    "4-paged": Case("unsloth", "8b", 4, "unsloth", 8, optimizer="paged_adamw_8bit"),
    "1b-none": Case("unsloth", "1b", 16, "none", 8),
    "1b-offloaded": Case("unsloth", "1b", 16, "unsloth", 32),
    # the tutorials' batch
    "4-16x512": Case(
        "unsloth", "8b", 4, "unsloth", 16, length=512, optimizer="adamw_8bit", words=(0.92, 0.93)
    ),
    "trl-16-flat": Case("trl", "8b", 16, "none", 2),
    "trl-16-standard": Case("trl", "8b", 16, "standard", 8),
    "trl-16-padded": Case("trl", "8b", 16, "standard", 4, padding_free=False),
    "trl-4-standard": Case("trl", "8b", 4, "standard", 8),
    "trl-8-standard": Case("trl", "8b", 8, "standard", 4),
    "trl-dropout": Case("trl", "1b", 16, "none", 4, dropout=0.05),
    "trl-dora": Case("trl", "1b", 16, "standard", 4, dora=True),
    "trl-full-32": Case("trl", "1b", 32, "standard", 4, method="full"),
    "trl-full-16": Case("trl", "1b", 16, "standard", 4, method="full", optimizer="adamw_8bit"),
}


def recipe(name: str, case: Case, work: Path, data: Path) -> Recipe:
    train_settings: dict[str, Any] = {
        "method": case.method,
        "epochs": 1,
        "global_batch": case.conversations,
        "micro_batch": case.conversations,
        "max_length": case.length,
        "gradient_checkpointing": case.checkpointing,
        "padding_free": case.padding_free,
        "optimizer": case.optimizer,
        **({} if case.bits == 32 else {"base_bits": case.bits}),
    }
    return decode(
        {
            "name": name,
            "model": str(work / case.model),
            "data": [str(data)],
            "engine": case.engine,
            "certify": False,
            "train": train_settings,
            "lora": {
                "r": case.rank,
                "alpha": case.rank,
                "dropout": case.dropout,
                "dora": case.dora,
            },
            "heldout": {"at_most": 0},
            "evaluation": {"times": 0, "samples": 0},
        },
        name,
    )


def write_data(path: Path, case: Case) -> Path:
    """Eight batches of conversations of about that length: a token a word, near enough."""
    drawn = random.Random(7)
    with path.open("w") as file:
        for _ in range(8 * case.conversations):
            words = drawn.choices(_WORDS, k=int(case.length * drawn.uniform(*case.words)))
            half = len(words) // 2
            messages = [
                {"role": "user", "content": " ".join(words[:half])},
                {"role": "assistant", "content": " ".join(words[half:])},
            ]
            file.write(json.dumps({"messages": messages}) + "\n")
    return path


def prediction(case: Case) -> dict[str, Any]:
    tokens = case.conversations * case.length
    setting = Setting(
        engine=case.engine,
        tokens=0,
        compute=Compute(
            base_bits=case.bits,
            optimizer=case.optimizer,
            gradient_checkpointing=case.checkpointing,
            padding_free=case.padding_free,
        ),
        method=case.method,
        rank=case.rank,
        dropout=case.dropout > 0 or case.dora,
    )
    memory = predict(SHAPES[case.model], setting.holding(tokens, case.conversations))
    return {
        "tokens": tokens,
        "predicted_gb": _gb(memory.peak),
        "parts_gb": {name: _gb(size) for name, size in memory.parts().items()},
    }


def measure(name: str, case: Case, work: Path) -> dict[str, Any]:
    """A whole run: its calibration, and the most that its steps took."""
    job = train(recipe(name, case, work, write_data(work / f"{name}.jsonl", case)))
    while isinstance(job.state(), Alive):
        time.sleep(1)
    recorded = events(job)
    calibrated = next((event for event in recorded if event["kind"] == "calibrated"), None)
    steps = [
        int(event["tensor_bytes"])
        for event in recorded
        if event["kind"] == "step" and event.get("tensor_bytes")
    ]
    repairs = [event["what"] for event in recorded if event["kind"] == "repair"]
    if not isinstance(job.state(), Done) or calibrated is None or repairs:
        return {
            "failed": str(job.state()),
            "repairs": repairs,
            "log": job.log_path.read_text(errors="replace")[-1500:],
        }
    predicted, highest = int(calibrated["predicted"]), max(steps)
    return {
        "tokens": calibrated["tokens"],
        "predicted_gb": _gb(predicted),
        "calibrated_gb": _gb(int(calibrated["measured"])),
        "measured_gb": _gb(highest),
        "error": round(predicted / highest - 1, 4),
        "calibration_error": round(int(calibrated["measured"]) / highest - 1, 4),
    }


def events(job: Job) -> list[Event]:
    follower, recorded = Follower(job.events_path), []
    while some := follower.read():
        recorded += some
    return recorded


def as_peak(case: Case, figures: dict[str, Any]) -> dict[str, Any]:
    """A line of peaks.jsonl."""
    return {
        "source": time.strftime("%Y-%m-%d, bench/gpu/memory.py"),
        "model": case.model,
        "engine": case.engine,
        "bits": case.bits,
        "rank": case.rank,
        "layout": "by conversation" if case.padding_free else "padded",
        "checkpointing": case.checkpointing,
        "optimizer": case.optimizer,
        "conversations": case.conversations,
        "longest": case.length,
        "tokens": figures["tokens"],
        "peak_gb": figures["measured_gb"],
    }


def _gb(size: int) -> float:
    return round(size / 1e9, 2)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*")
    parser.add_argument("--predict", action="store_true")
    parser.add_argument("--work", type=Path, default=Path("/dev/shm/luthier-bench"))
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    os.environ.setdefault("LUTHIER_HOME", str(options.work / "home"))
    worst = 0.0
    for name in options.names or CASES:
        case = CASES[name]
        figures = prediction(case) if options.predict else measure(name, case, options.work)
        print(json.dumps({"name": name, **figures}), flush=True)
        worst = max(worst, abs(figures.get("error", 0.0)))
        plain = case.method == "lora" and not case.dropout and not case.dora
        if options.out and "error" in figures and plain:
            with options.out.open("a") as file:
                file.write(json.dumps(as_peak(case, figures)) + "\n")
    if not options.predict:
        print(f"the largest error: {worst:.1%}", file=sys.stderr)


if __name__ == "__main__":
    main()
