"""Two GPUs against one, through Luthier itself, with the 8B shapes of bench/gpu/speed.py and random
weights.

    python -P bench/gpu/speed.py prepare SAMPLES.jsonl --tokenizer DIR   # makes the model, once
    # any file that `luthier train` takes
    python -P bench/gpu/two_gpus.py CONVERSATIONS.jsonl
    # a share of the weights on each GPU
    python -P bench/gpu/two_gpus.py CONVERSATIONS.jsonl --engine trl --sharding fsdp2

Like is compared with like: useful tokens a second over settled steps (bench/gpu/settled.py), all
with the products (float8 or not) that the plan of the first run has, and none tries settings. Three
runs, then two lines:

"same tokens a GPU": several GPUs against one, each with so many conversations a step that they are
at least 8,000 tokens on every GPU; wanted is 1.9 or more.
"same global batch": several GPUs against one that takes their global batch in as many passes. The
losses of these two must agree: status 1 if they do not, or if something is not settled.

    # all weights of a model that no single card holds: one run, and why the plan needs two GPUs
    python -P bench/gpu/two_gpus.py CONVERSATIONS.jsonl --model 14b --method full --engine trl
        --sharding auto --steps 14 --rows 2 --alone many
"""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
from itertools import islice
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))

from bench.gpu.settled import Unsettled, speed_of_run

_LEAST_TOKENS = 8000  # a GPU and step: with fewer the host is what is measured
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
method = "{method}"
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
    parser.add_argument(
        "--rows", type=int, default=8, help="a GPU and step; more where 8,000 tokens need them"
    )
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument(
        "--float8", choices=["auto", "true", "false"], default="auto", help="of all runs"
    )
    parser.add_argument("--gpus", type=int, default=2)
    parser.add_argument(
        "--sharding",
        default="none",
        choices=["none", "fsdp2", "auto"],
        help="of the run on several GPUs",
    )
    parser.add_argument("--method", default="lora", choices=["lora", "full"])
    parser.add_argument("--alone", choices=["one", "many", "same"], help="only this run")
    options = parser.parse_args()
    os.environ.setdefault("LUTHIER_HOME", str(options.work / "home"))
    os.environ["LUTHIER_TRIALS"] = "never"  # runs that differ only in their GPUs
    if options.sharding == "fsdp2" or options.method == "full":
        options.float8 = "false"  # neither has any
    if options.alone:
        run(options, options.alone, *_gpus_and_batch(options, options.alone))
        return
    single = run(options, "one", *_gpus_and_batch(options, "one"))
    if single["tokens_per_step"] < _LEAST_TOKENS:
        mean = single["tokens_per_step"] / options.rows
        options.rows = math.ceil(1.05 * _LEAST_TOKENS / mean)
        single = run(options, "one", *_gpus_and_batch(options, "one"))
    options.float8 = str(single["float8"]).lower()
    many = run(options, "many", *_gpus_and_batch(options, "many"))
    one_gpu_whole_batch = run(options, "same", *_gpus_and_batch(options, "same"))
    compare(options, single, many, one_gpu_whole_batch)


def _gpus_and_batch(options: argparse.Namespace, name: str) -> tuple[int, int]:
    """Of each of the three runs."""
    return {
        "one": (1, options.rows),
        "many": (options.gpus, options.rows * options.gpus),
        "same": (1, options.rows * options.gpus),
    }[name]


def compare(
    options: argparse.Namespace,
    single: dict[str, Any],
    many: dict[str, Any],
    one_gpu_whole_batch: dict[str, Any],
) -> None:
    """Print both lines, and end with the status that they come to."""
    enough = min(single["tokens_per_step"], many["tokens_per_step"] / options.gpus)
    apart = max(
        abs(first - other)
        for first, other in zip(many["losses"], one_gpu_whole_batch["losses"], strict=True)
    )
    head = {"gpus": options.gpus, "float8": single["float8"], "sharding": options.sharding}
    by_tokens = {
        **head,
        "compared": "same tokens a GPU",
        "ratio": round(many["tokens_per_second"] / single["tokens_per_second"], 3),
        "least_tokens_a_gpu": round(enough),
        "enough_tokens": enough >= _LEAST_TOKENS,
    }
    by_batch = {
        **head,
        "compared": "same global batch",
        "ratio": round(many["tokens_per_second"] / one_gpu_whole_batch["tokens_per_second"], 3),
        "losses_apart": round(apart, 4),
        "agree": apart <= _TOLERANCE,
    }
    print(json.dumps(by_tokens), flush=True)
    print(json.dumps(by_batch), flush=True)
    sys.exit(0 if by_batch["agree"] and by_tokens["enough_tokens"] else 1)


def run(options: argparse.Namespace, name: str, gpus: int, global_batch: int) -> dict[str, Any]:
    """A run of `steps` steps in a job of its own; prints what it came to."""
    from jobs import job as jobs
    from jobs.events import parse_line
    from jobs.state import Done
    from trainer import launch
    from trainer.recipe import load

    label = f"{name}-{options.model}-{options.engine}-{options.sharding}"
    data, path = options.work / f"{label}.jsonl", options.work / f"{label}.toml"
    with options.conversations.open() as file:
        lines = [*islice(file, options.steps * global_batch)]
    if len(lines) < options.steps * global_batch:
        raise SystemExit(
            f"{name} needs {options.steps * global_batch} conversations, and"
            f" {options.conversations} has {len(lines)}"
        )
    data.write_text("".join(lines))
    values = {
        "name": name,
        "model": options.work / options.model,
        "data": data,
        "engine": options.engine,
        "gpus": gpus,
    }
    values["sharding"] = options.sharding if gpus > 1 else "none"
    values["method"] = options.method
    values["float8"] = '"auto"' if options.float8 == "auto" else options.float8
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
    plan = [event for event in events if event["kind"] == "plan"][-1]
    steps = [event for event in events if event["kind"] == "step"]
    try:
        measured = speed_of_run(events)
    except Unsettled as error:
        raise SystemExit(f"{name}: {error}") from None
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
                "float8",
                "shards",
            )
        },
        **measured,
        "why": [reason for reason in plan["reasons"] if "shard" in json.dumps(reason)],
        "predicted_gb": round(sum(plan["memory"].values()) / 1e9, 1),
        "memory_gb": round(max(step["tensor_bytes"] for step in steps) / 1e9, 1),
        "repairs": sum(event["kind"] == "repair" for event in events),
        "losses": [round(step["loss"], 4) for step in steps],
    }
    print(json.dumps(figures), flush=True)
    return figures


if __name__ == "__main__":
    main()
