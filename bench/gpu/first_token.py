"""From "the run is done" to the first token of its tuned model: cold, asleep, warm.

    python bench/gpu/first_token.py [--model builtin] [--ways cold,again,asleep,warm]
        [--certificate]

in an environment that has Luthier's packages, on a GPU machine or on a CPU (there nothing sleeps).
It needs LUTHIER_HOME: a folder where the model is, or can be, prepared, and in which no server
runs. Training goes through `luthier train`, servers through `luthier serve`; what comes after the
run is what the key `a` does in the app (workshop.chat_with_run). It prints a JSON object a way:

cold    no server runs, and on a GPU no kernel is compiled yet (give it a new home)
again   no server runs, the kernels of the start before are kept; the run before is chatted with
asleep  a server of the base sleeps while the run trains (GPU only)
warm    a server of the base is awake: on a GPU it shares the card with the run

Seconds: `ready` until a server of the base serves, `loaded` until it has the adapter, `first_token`
until the tuned model's first token. `--certificate` has the last run certified after the ways, when
no server runs, and tells what that took.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import importlib.metadata
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from jobs.gpus import gpus
from jobs.job import Job, find
from models import registry
from models.runs import Run
from serve.client import Delta, Sampling, stream_chat
from workshop.chat_with_run import have_it_serve, server_job
from workshop.servers import once_ready

CHECKOUT = Path(__file__).parents[2]
QUESTION = [{"role": "user", "content": "Where does the wind come from?"}]
RECIPE = """
name = "first-token"
model = "{model}"
data = ["{data}"]
certify = false
[train]
epochs = 0.25
global_batch = 8
[evaluation]
times = 0
"""


def luthier(*arguments: str) -> str:
    command = [sys.executable, "-P", "-m", "tui.cli", *arguments]
    answer = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    if answer.returncode != 0:
        sys.exit(f"luthier {' '.join(arguments)}: exit status {answer.returncode}")
    return answer.stdout


async def first_token(job: Job, name: str) -> float:
    """When it came."""
    server = once_ready(job)
    async with contextlib.aclosing(
        stream_chat(server.endpoint, name, list(QUESTION), Sampling(max_tokens=8, temperature=0.0))
    ) as pieces:
        async for piece in pieces:
            if isinstance(piece, Delta):
                return time.time()
    sys.exit("no token came")


@contextlib.contextmanager
def server_before(way: str, model: str) -> Iterator[None]:
    """What runs before the run does."""
    if way in ("asleep", "warm"):
        luthier(
            "serve", "--model", model, *(["--gpu-memory", "0.3"] if way == "warm" else []), "--json"
        )
    try:
        yield
    finally:
        luthier("server", "stop")


def trained(recipe: Path, *beside: str) -> Job:
    return find(luthier("train", str(recipe), *beside, "--follow").split()[0], "run")


def measure(
    way: str, recipe: Path, model: str, before: Job | None
) -> tuple[dict[str, object], Job]:
    with server_before(way, model):
        beside = (
            {"asleep": ["--server", "sleep"], "warm": ["--server", "share"]}.get(way, [])
            if gpus()
            else []
        )
        run = before if way == "again" and before is not None else trained(recipe, *beside)
        # the command ends a moment later; nobody presses a key before they see that it is done
        noticed = time.time()
        exits = [event["t"] for event in run.events() if event["kind"] == "exited"]
        done = noticed if run is before else exits[-1]
        job = server_job(Run(run))
        server = once_ready(job)
        ready = time.time()
        name = have_it_serve(server, Run(run))
        loaded = time.time()
        token = asyncio.run(first_token(job, name))
        slept = [event for event in job.events() if event["kind"] in ("asleep", "awake")]
    figures: dict[str, object] = {
        "way": way,
        "noticed": round(noticed - done, 2),
        "ready": round(ready - noticed, 2),
        "loaded": round(loaded - ready, 2),
        "first_token": round(token - loaded, 2),
        "from_done": round(token - done, 2),
        "from_key": round(token - noticed, 2),
        "slept": [
            {key: event[key] for key in ("kind", "seconds", "freed_bytes") if key in event}
            for event in slept
        ],
    }
    return figures, run


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="builtin")
    parser.add_argument("--ways", default="cold,again,asleep,warm" if gpus() else "cold,warm")
    parser.add_argument("--certificate", action="store_true")
    arguments = parser.parse_args()
    if "LUTHIER_HOME" not in os.environ:
        parser.error("LUTHIER_HOME is not set: give it a folder of its own")
    job = registry.prepare_builtin() if arguments.model == "builtin" else None
    while job is not None and job.alive():
        time.sleep(0.5)
    recipe = Path(os.environ["LUTHIER_HOME"]) / "first-token.toml"
    recipe.write_text(
        RECIPE.format(model=arguments.model, data=CHECKOUT / "examples" / "captain" / "train.jsonl")
    )
    versions = {
        name: importlib.metadata.version(name) for name in ("torch", "transformers", "trl", "peft")
    }
    print(
        json.dumps(
            {
                "gpus": [gpu.name for gpu in gpus()],
                "cores": len(os.sched_getaffinity(0)),
                "versions": versions,
            }
        ),
        flush=True,
    )
    run = None
    for way in arguments.ways.split(","):
        figures, run = measure(way, recipe, arguments.model, run)
        print(json.dumps(figures), flush=True)
    if arguments.certificate and run is not None:
        began = time.monotonic()
        luthier("certify", run.id)
        print(json.dumps({"certificate": round(time.monotonic() - began, 1)}), flush=True)


if __name__ == "__main__":
    main()
