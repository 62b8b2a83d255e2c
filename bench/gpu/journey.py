"""The whole journey on a GPU: the built-in model trained on conversations by Unsloth, certified,
hot-loaded, both answering at once.

    python -m bench.gpu.journey DATA [--engine unsloth] [--steps 60]

It goes through Luthier's commands as a user would: train, certify, serve, then base and tuned asked
one after the other and at the same time. It prints one JSON object: the run's speed, the
certificate's verdict and checks, seconds of each part, tokens per second and time to first token of
each model, and the GPU's memory before and after.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bench.gpu.demo import used_memory, versions
from jobs.gpus import gpus
from jobs.job import find
from serve.client import Finished, Sampling, stream_chat
from serve.servers import Server, current_server

LUTHIER = [sys.executable, "-P", "-m", "tui.cli"]
QUESTION = [{"role": "user", "content": "Tell me a long story about your day."}]
RECIPE = """
name = "journey"
model = "builtin"
data = ["{data}"]
engine = "{engine}"
certify = false
[train]
epochs = {epochs}
learning_rate = 5e-4
global_batch = 16
"""


def luthier(*arguments: str) -> str:
    return subprocess.run(
        [*LUTHIER, *arguments], stdout=subprocess.PIPE, text=True, check=True
    ).stdout


async def ask(server: Server, model: str, tokens: int) -> Finished:
    pieces = [
        piece
        async for piece in stream_chat(
            server.endpoint, model, QUESTION, Sampling(temperature=1.0, max_tokens=tokens, seed=1)
        )
    ]
    assert isinstance(pieces[-1], Finished)
    return pieces[-1]


async def together(server: Server, models: list[str], tokens: int) -> list[Finished]:
    return await asyncio.gather(*(ask(server, model, tokens) for model in models))


def speed(finished: Finished) -> dict[str, float | None]:
    first = finished.time_to_first_token
    seconds_after_first = finished.seconds - (first or 0.0)
    return {
        "tokens_per_second": round((finished.completion_tokens - 1) / seconds_after_first, 1),
        "first_token_ms": first and round(1000 * first, 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path)
    parser.add_argument("--engine", default="unsloth")
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--tokens", type=int, default=300, help="longest answer")
    options = parser.parse_args()
    os.environ.setdefault("LUTHIER_HOME", tempfile.mkdtemp(prefix="luthier-journey-"))
    seconds: dict[str, float] = {}

    @contextmanager
    def part(name: str) -> Iterator[None]:
        began = time.monotonic()
        yield
        seconds[name] = round(time.monotonic() - began, 1)

    before = used_memory()
    with part("preparing the built-in model"):
        luthier("models", "import", "builtin")
    path = Path(os.environ["LUTHIER_HOME"]) / "journey.toml"
    path.write_text(RECIPE.format(data=options.data.absolute(), engine=options.engine, epochs=1.0))
    plan = json.loads(luthier("plan", str(path), "--json"))
    path.write_text(
        RECIPE.format(
            data=options.data.absolute(),
            engine=options.engine,
            epochs=options.steps / plan["steps"],
        )
    )
    with part("training"):
        run = find(luthier("train", str(path), "--follow").split()[0], "run")
    with part("certificate"):
        certificate: dict[str, Any] = json.loads(luthier("certify", run.id, "--json"))
    models = ["base", "journey"]
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("broken off"))
    try:
        with part("serving"):
            luthier("serve", run.id)
        server = current_server()
        # the first two warm up
        one_by_one = [asyncio.run(ask(server, model, options.tokens)) for model in models * 2][2:]
        at_once = asyncio.run(together(server, models, options.tokens))
    finally:  # or it holds the GPU
        with part("stopping the server"):
            luthier("server", "stop")
    time.sleep(3)
    (chart,) = json.loads(luthier("chart", run.id, "--metric", "all", "--json"))
    speeds = [value for _, value in chart["metrics"]["tokens_per_second"]]
    report = {
        "gpus": [gpu.name for gpu in gpus()],
        "versions": versions(),
        "plan": {
            key: plan[key]
            for key in (
                "engine",
                "base_bits",
                "padding_free",
                "micro_batch",
                "accumulation",
                "gradient_checkpointing",
            )
        },
        "seconds": seconds,
        "losses": [chart["metrics"]["loss"][0][1], chart["metrics"]["loss"][-1][1]],
        "train_tokens_per_second": round(statistics.median(speeds[min(10, len(speeds) // 2) :])),
        "verdict": certificate["verdict"],
        "checks": certificate["checks"],
        "one_by_one": {
            model: speed(finished) for model, finished in zip(models, one_by_one, strict=True)
        },
        "at_once": {
            model: speed(finished) for model, finished in zip(models, at_once, strict=True)
        },
        "gpu_gb_used_before_and_after": [before, used_memory()],
    }
    print(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
