"""The demo on a GPU machine, with what it says of the machine: versions, speeds, and whether the
GPU's memory is free again.

    python bench/gpu/demo.py        in an environment that has Luthier's gpu packages

It prints one JSON object. Where the built-in model's package is not installed, LUTHIER_BUILTIN_GGUF
names its file.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from jobs.events import Event, Follower
from jobs.gpus import gpus
from jobs.job import Job, all_jobs


def versions() -> dict[str, str]:
    names = ("torch", "transformers", "trl", "peft", "unsloth", "vllm")
    version_of = {
        dist.metadata["Name"]: dist.version for dist in importlib.metadata.distributions()
    }
    return {name: version_of[name] for name in names if name in version_of}


def events(job: Job) -> list[Event]:
    follower, recorded = Follower(job.events_path), []
    while some := follower.read():
        recorded += some
    return recorded


def used_memory() -> list[float]:
    """Of each GPU, in GB."""
    return [round((gpu.total - gpu.free) / 1e9, 2) for gpu in gpus()]


def main() -> None:
    home = Path(tempfile.mkdtemp(prefix="luthier-gpu-"))
    os.environ["LUTHIER_HOME"] = str(home)
    before = used_memory()
    command = [sys.executable, "-P", "-m", "tui.cli", "demo", "--json"]
    answer = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    if answer.returncode != 0:
        for job in all_jobs():
            print(
                f"== {job.id}: {job.state()}\n{job.log_path.read_text(errors='replace')[-6000:]}",
                file=sys.stderr,
            )
        sys.exit(answer.returncode)
    figures = json.loads(answer.stdout)
    (run,) = all_jobs("run")
    (server,) = all_jobs("server")
    steps = [event["tokens_per_second"] for event in events(run) if event["kind"] == "step"]
    served = {event["kind"] + event.get("name", ""): event["t"] for event in events(server)}
    time.sleep(3)
    report = {
        "gpus": [gpu.name for gpu in gpus()],
        "versions": versions(),
        "base_share": figures["base_share"],
        "tuned_share": figures["tuned_share"],
        "seconds": figures["seconds"],
        "train_tokens_per_second_after_step_10": statistics.median(steps[10:]),
        "slots": next(event["slots"] for event in events(run) if event["kind"] == "started"),
        "server_start_seconds": round(served["phaseready"] - served["started"], 1),
        "gpu_gb_used_before_and_after": [before, used_memory()],
        "example": [
            entry for entry in figures["answers"] if entry["question"].startswith("Why do leaves")
        ],
    }
    print(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
