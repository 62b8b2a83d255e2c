"""From "the run is done" to the first token of its tuned model: cold, asleep, warm.

    python bench/gpu/first_token.py [--model builtin] [--ways cold,again,certified,asleep,warm]

in an environment that has Luthier's packages, on a GPU machine or on a CPU (there nothing sleeps).
It needs LUTHIER_HOME: a folder where the model is, or can be, prepared, and in which no server
runs. Training goes through `luthier train`, servers through `luthier serve`; what comes after the
run is what the key `a` does in the app (workshop.chat_with_run). It prints a JSON object a way:

cold    no server runs, and on a GPU no kernel is compiled yet (give it a new home)
again   no server runs, the kernels of the start before are kept; the run before is chatted with
certified  as again, after a new run that is certified: on a GPU the certificate starts the server
        that the chat gets
asleep  a server of the base sleeps while the run trains (GPU only)
warm    a server of the base is awake: on a GPU it shares the card with the run

Seconds: `ready` until a server of the base serves, `loaded` until it has the adapter, `first_token`
until the tuned model's first token; `from_done`, from the run's end to that token; `parts`, how
long each phase of the server's start took, as its job told them; `touched`, who touched the GPU
before the engine was forked, and what came of it (empty: it was forked). After `certified`:
`certificate`, from the run's end to the certificate's, with its verdict and phases; `one_server`,
whether it asked the server that the chat has. A way that fails is told, and the next one tried.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import importlib.metadata
import itertools
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from jobs.gpus import gpus
from jobs.job import Job, all_jobs, find
from jobs.luthier_error import LuthierError
from models import registry
from models.runs import Run
from serve.certificate.launch import is_about
from serve.certificate.launch import living_job as living_certificate
from serve.client import Delta, Sampling, stream_chat
from serve.planning import living_servers
from trainer.examples import CAPTAIN
from workshop.chat_with_run import have_it_serve, server_job
from workshop.servers import once_ready

# From the run's end to the key: by then its certificate has begun, which the supervisor starts.
KEY_SECONDS = 3.0
QUESTION = [{"role": "user", "content": "Where does the wind come from?"}]
RECIPE = """
name = "first-token"
model = "{model}"
data = ["{data}"]
certify = {certify}
engine = "trl"
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
        for job, _ in living_servers():
            luthier("server", "stop", job.id)


def trained(recipe: Path, *beside: str) -> Job:
    return find(luthier("train", str(recipe), *beside, "--follow").split()[0], "run")


def phases(job: Job) -> dict[str, float]:
    """The seconds of each phase of a job, by its name; of those with one name together."""
    events = [event for event in job.events() if event["kind"] in ("started", "phase", "exited")]
    seconds: dict[str, float] = {}
    for event, following in itertools.pairwise(events):
        name = str(event.get("name", event["kind"]))
        seconds[name] = round(seconds.get(name, 0.0) + following["t"] - event["t"], 2)
    return seconds


def touched(job: Job) -> str:
    """What the server's log says of whoever touched the GPU before the fork."""
    lines = job.log_path.read_text(encoding="utf-8", errors="replace").splitlines()
    signs = ("Before the fork", "Overriding VLLM_WORKER_MULTIPROC_METHOD", "without a fork")
    at = next((n for n, line in enumerate(lines) if any(sign in line for sign in signs)), None)
    return "" if at is None else "\n".join(lines[at : at + 18])


def certificate_figures(run: Job, chat: Job, done: float) -> dict[str, object]:
    """Of the run's own certificate, once it has ended."""
    job = living_certificate(Run(run)) or next(
        job for job in all_jobs("certify") if is_about(job, Run(run))
    )
    while job.alive():
        time.sleep(0.2)
    ended = next((event["t"] for event in job.events() if event["kind"] == "exited"), time.time())
    result = next((event for event in job.events() if event["kind"] == "result"), {})
    return {
        "certificate": round(ended - done, 2),
        "verdict": result.get("verdict", str(job.state())),
        "one_server": chat.spec.settings.get("kept_by") == job.id,
        "certificate_parts": phases(job),
    }


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
        if way == "certified":
            time.sleep(KEY_SECONDS)
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
            "parts": phases(job),
            "touched": touched(job),
            "slept": [
                {key: event[key] for key in ("kind", "seconds", "freed_bytes") if key in event}
                for event in slept
            ],
        }
        if way == "certified":
            print(json.dumps(figures), flush=True)
            figures = {"way": way, **certificate_figures(run, job, done)}
    return figures, run


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="builtin")
    every_way = "cold,again,certified,asleep,warm" if gpus() else "cold,again,certified"
    parser.add_argument("--ways", default=every_way)
    arguments = parser.parse_args()
    if "LUTHIER_HOME" not in os.environ:
        parser.error("LUTHIER_HOME is not set: give it a folder of its own")
    job = registry.prepare_builtin() if arguments.model == "builtin" else None
    while job is not None and job.alive():
        time.sleep(0.5)
    home = Path(os.environ["LUTHIER_HOME"])
    data = CAPTAIN / "train.jsonl"
    recipes = {}
    for certify in ("false", "true"):
        recipes[certify] = home / f"first-token-{certify}.toml"
        recipes[certify].write_text(
            RECIPE.format(model=arguments.model, data=data, certify=certify), encoding="utf-8"
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
        recipe = recipes["true" if way == "certified" else "false"]
        try:
            figures, run = measure(way, recipe, arguments.model, run)
        except (LuthierError, SystemExit) as error:
            figures = {"way": way, "failed": str(error)}
        print(json.dumps(figures), flush=True)


if __name__ == "__main__":
    main()
