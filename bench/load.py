"""Many clients stream at once through the guard: errors, what leaks, what each request costs.

    python -m bench.load [--clients 64] [--seconds 60] [--rate 40]

A server of Luthier's own, its job and the real guard, with the fake vLLM of tests/fakes/vllm_home
behind it: the load is on the guard, the connections and the request log. Memory, file descriptors
and threads of the API server are read from /proc before, during and after. Prints JSON; exits with
1 if a request failed, or if something grew from the first third of the time to the last.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

from jobs import processes
from jobs.job import Job, stop, wait
from jobs.state import Queued, Running, Starting
from serve.client import Delta, Endpoint, Finished, Sampling, stream_chat
from serve.planning import ServeOptions
from tests.serve.conftest import write_tensors

ROOT = Path(__file__).parents[1]
_SETTLED_SECONDS = 3.0
_GROWTH_ALLOWED = 1.05  # of memory, from the first third to the last


@dataclass
class Figures:
    """What the clients have seen: times in seconds since each request was sent."""

    answers: int = 0
    tokens: int = 0
    failures: list[str] = field(default_factory=list)
    first_tokens: list[float] = field(default_factory=list)


@dataclass(frozen=True)
class Usage:
    memory: int
    files: int
    threads: int


def usage(pid: int) -> Usage:
    """Resident memory in bytes, open file descriptors, threads."""
    status = dict(
        line.split(":", 1)
        for line in Path(f"/proc/{pid}/status").read_text().splitlines()
        if ":" in line
    )
    return Usage(
        int(status["VmRSS"].split()[0]) << 10,
        len(list(Path(f"/proc/{pid}/fd").iterdir())),
        int(status["Threads"]),
    )


async def client(
    endpoint: Endpoint, model: str, until: float, tokens: int, figures: Figures
) -> None:
    question = [{"role": "user", "content": "Tell me a story, and make it long."}]
    while time.monotonic() < until:
        count = 0
        try:
            async for piece in stream_chat(endpoint, model, question, Sampling(max_tokens=tokens)):
                match piece:
                    case Delta():
                        count += 1
                    case Finished():
                        figures.first_tokens += (
                            [] if piece.time_to_first_token is None else [piece.time_to_first_token]
                        )
            figures.answers += 1
            figures.tokens += count
        except Exception as error:  # noqa: BLE001 - whatever went wrong is a figure
            figures.failures.append(str(error))


async def load(
    endpoint: Endpoint, models: list[str], pid: int, clients: int, seconds: float, tokens: int
) -> tuple[Figures, list[Usage]]:
    """Let the clients ask for so long, and look at the server once a second."""
    figures, looks = Figures(), []
    until = time.monotonic() + seconds
    tasks = [
        asyncio.create_task(client(endpoint, models[number % len(models)], until, tokens, figures))
        for number in range(clients)
    ]
    while time.monotonic() < until:
        await asyncio.sleep(1.0)
        looks.append(usage(pid))
    await asyncio.gather(*tasks)
    return figures, looks


def judged(
    before: Usage, looks: list[Usage], after: Usage, figures: Figures, seconds: float
) -> dict[str, object]:
    """The figures, and what is wrong with them."""
    third = max(1, len(looks) // 3)
    early, late = (
        statistics.median(look.memory for look in part) for part in (looks[:third], looks[-third:])
    )
    problems = []
    if figures.failures:
        problems.append(f"{len(figures.failures)} requests failed: {figures.failures[0]}")
    if not figures.answers:
        problems.append("nothing was answered")
    if late > early * _GROWTH_ALLOWED:
        problems.append(f"memory grew from {early / 1e6:.0f} to {late / 1e6:.0f} MB")
    if after.files > before.files + 2:
        problems.append(f"{after.files - before.files} file descriptors were left open")
    if after.threads > max(before.threads, min(look.threads for look in looks)):
        problems.append(f"{after.threads - before.threads} threads were left")
    return {
        "answers": figures.answers,
        "tokens_per_second": round(figures.tokens / seconds),
        "first_token_ms": {
            name: round(1000 * value, 1) for name, value in _quantiles(figures.first_tokens).items()
        },
        "memory_mb": {
            "before": before.memory // 10**6,
            "first_third": round(early / 1e6),
            "last_third": round(late / 1e6),
        },
        "files": {
            "before": before.files,
            "most": max(look.files for look in looks),
            "after": after.files,
        },
        "threads": {
            "before": before.threads,
            "most": max(look.threads for look in looks),
            "after": after.threads,
        },
        "problems": problems,
    }


def _quantiles(values: list[float]) -> dict[str, float]:
    cuts = statistics.quantiles(values, n=20) if len(values) > 1 else values * 19
    return {"median": cuts[9], "95 %": cuts[18]} if cuts else {}


def api_server(job: Job) -> int:
    """The process that has the guard in it."""
    worker = next(event["pid"] for event in job.events() if event["kind"] == "started")
    return next(
        pid
        for pid in processes.descendants(worker)
        if b"--served-model-name" in Path(f"/proc/{pid}/cmdline").read_bytes()
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--rate", type=float, default=20.0, help="tokens per second of each answer")
    parser.add_argument("--tokens", type=int, default=60, help="length of each answer")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as home:
        os.environ |= {
            "LUTHIER_HOME": home,
            "PYTHONPATH": f"{ROOT / 'tests/fakes/vllm_home'}:{ROOT}",
            "FAKE_RATE": str(arguments.rate),
        }
        figures = _measure(Path(home), arguments)
    print(json.dumps(figures, indent=2))
    sys.exit(1 if figures["problems"] else 0)


def _measure(home: Path, arguments: argparse.Namespace) -> dict[str, object]:
    from serve import launch
    from serve.servers import running_servers

    base = home / "tiny"
    base.mkdir()
    (base / "config.json").write_text('{"max_position_embeddings": 8192}')
    (base / "tokenizer.json").write_text("{}")
    write_tensors(base / "model.safetensors", {"model.layers.0.self_attn.q_proj.weight": [8, 6]})
    job = launch.serve(base, [], options=ServeOptions(device="cpu"))
    try:
        while isinstance(job.state(), Queued | Starting):
            time.sleep(0.1)
        assert isinstance(job.state(), Running), job.state()
        endpoint, pid = running_servers()[0].endpoint, api_server(job)
        # what is loaded at first use is no leak
        asyncio.run(load(endpoint, ["base"], pid, 4, 2.0, 5))
        before = usage(pid)
        figures, looks = asyncio.run(
            load(endpoint, ["base"], pid, arguments.clients, arguments.seconds, arguments.tokens)
        )
        time.sleep(_SETTLED_SECONDS)
        return judged(before, looks, usage(pid), figures, arguments.seconds)
    finally:
        stop(job)
        wait(job, 40.0)


if __name__ == "__main__":
    main()
