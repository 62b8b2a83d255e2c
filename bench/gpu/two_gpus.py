"""Two GPUs against one, through Luthier itself: the same rows a GPU, the 8B shapes of
bench/gpu/speed.py with random weights.

    python -P bench/gpu/speed.py prepare SAMPLES.jsonl --tokenizer DIR   # makes the model, once
    # any file that `luthier train` takes
    python -P bench/gpu/two_gpus.py CONVERSATIONS.jsonl
    # a share of the weights on each GPU
    python -P bench/gpu/two_gpus.py CONVERSATIONS.jsonl --engine trl --sharding fsdp2

Useful tokens per second (no padding counted, after the steps that compile) of one GPU with ROWS a
step and of two with twice as many; the ratio is wanted to be 1.9 or more. Then one GPU takes the
two GPUs' global batch in two passes: its losses must be theirs. Status 1 if not.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from itertools import islice
from pathlib import Path
from typing import Any

WARM_STEPS = 6
_TOLERANCE = 0.03  # nats, of a step's loss: what 16-bit sums in another order make of it

_RECIPE = """
name = "{name}"
model = "{model}"
data = ["{data}"]
engine = "{engine}"
gpus = {gpus}
sharding = "{sharding}"
certify = false
[train]
epochs = 1
warmup = 0.0
global_batch = {global_batch}
micro_batch = {rows}
max_length = 2048
float8 = {float8}
[heldout]
share = 0.0
at_least = 0
[evaluation]
times = 0
samples = 0
[checkpoints]
every_minutes = 0.0
"""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("conversations", type=Path)
    parser.add_argument("--work", type=Path, default=Path("/dev/shm/luthier-bench"))
    parser.add_argument("--model", default="8b")
    parser.add_argument("--engine", default="auto", choices=["auto", "trl", "unsloth"])
    parser.add_argument("--rows", type=int, default=4, help="a GPU and step")
    parser.add_argument("--steps", type=int, default=16)
    parser.add_argument("--gpus", type=int, default=2)
    parser.add_argument(
        "--sharding", default="none", choices=["none", "fsdp2"], help="of the run on several GPUs"
    )
    options = parser.parse_args()
    os.environ.setdefault("LUTHIER_HOME", str(options.work / "home"))
    sys.path.insert(0, str(Path(__file__).parents[2]))
    single = run(options, "one", 1, options.rows)
    many = run(options, "many", options.gpus, options.rows * options.gpus)
    single_same_batch = run(options, "same", 1, options.rows * options.gpus)
    apart = max(
        abs(first - other)
        for first, other in zip(many["losses"], single_same_batch["losses"], strict=True)
    )
    ratio = many["tokens_per_second"] / single["tokens_per_second"]
    result = {
        "gpus": options.gpus,
        "ratio": round(ratio, 3),
        "losses_apart": round(apart, 4),
        "agree": apart <= _TOLERANCE,
    }
    print(json.dumps(result), flush=True)
    sys.exit(0 if result["agree"] else 1)


def run(options: argparse.Namespace, name: str, gpus: int, global_batch: int) -> dict[str, Any]:
    """A run of `steps` steps in a job of its own; prints what it came to."""
    from jobs import job as jobs
    from jobs.events import parse_line
    from jobs.state import Done
    from trainer import launch
    from trainer.recipe import load

    data, path = options.work / f"{name}.jsonl", options.work / f"{name}.toml"
    with options.conversations.open() as file:
        data.write_text("".join(islice(file, options.steps * global_batch)))
    values = {
        "name": name,
        "model": options.work / options.model,
        "data": data,
        "engine": options.engine,
        "gpus": gpus,
    }
    values["sharding"] = options.sharding if gpus > 1 else "none"
    values["float8"] = '"auto"' if options.sharding == "none" else "false"  # FSDP2 has none
    path.write_text(_RECIPE.format(**values, global_batch=global_batch, rows=options.rows))
    job = launch.train(load(path))
    jobs.wait(job)
    state = job.state()
    if not isinstance(state, Done):
        raise SystemExit(f"{name}: {state}\n{job.log_path.read_text()[-4000:]}")
    events = [
        event
        for line in job.events_path.read_bytes().splitlines()
        if (event := parse_line(line)) is not None
    ]
    (plan,) = (event for event in events if event["kind"] == "plan")
    steps = [event for event in events if event["kind"] == "step"]
    first, last = steps[WARM_STEPS], steps[-1]
    figures = {
        "name": name,
        **{
            key: plan[key]
            for key in (
                "engine",
                "gpus",
                "global_batch",
                "micro_batch",
                "accumulation",
                "padding_free",
                "gradient_checkpointing",
            )
        },
        "tokens_per_second": round((last["tokens"] - first["tokens"]) / (last["t"] - first["t"])),
        "memory_gb": round(max(step["memory_bytes"] for step in steps) / 1e9, 1),
        "repairs": sum(event["kind"] == "repair" for event in events),
        "losses": [round(step["loss"], 4) for step in steps],
    }
    print(json.dumps(figures), flush=True)
    return figures


if __name__ == "__main__":
    main()
