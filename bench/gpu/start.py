"""What a vLLM's start is made of, and how fast the server is that comes of it: one start a call.

    python -P bench/gpu/start.py LABEL --model FOLDER --adapter FOLDER [--clients 1,64]
        [--vllm=ARGUMENT ...] [--env NAME=VALUE ...] [--plain] [--method spawn] [--log FILE]

on a GPU machine, with LUTHIER_HOME set: compiled kernels are kept there. vLLM gets the command and
the environment of Luthier's plan, then what --vllm and --env say. `--plain` leaves CUDA graphs and
the measuring of memory to vLLM; `--method` says how its engine comes to be: Luthier's way is a fork
on a GPU and a process of its own ("spawn") on a CPU. One JSON line: `parts`, the seconds from each
sign in vLLM's log to the next; `loaded`, until the adapter is; `first_token`, of the tuned model,
all counted from the process's start; `touched`, who touched the GPU before the fork, and what vLLM
says of it (nothing: it was forked). For each number of --clients: output tokens a second of the
tuned model, all of them asking at once, greedily and with top-p; for one client also the base
model's.

    python -P bench/gpu/start.py LABEL --model FOLDER --adapter FOLDER --turns 3 [--seconds 20]
        [--clients 64]

has two servers on one GPU, with Luthier's settings and with vLLM's own, and asks them by turns:
--clients at once with top-p for --seconds, then greedily for half of them. One line of JSON a
measure, then each way's middle value and the ratio.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import re
import secrets
import signal
import statistics
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

from jobs.luthier_error import LuthierError
from serve.client import Delta, Endpoint, Sampling, load_adapter, post, server_id, stream_chat
from serve.key_files import client_key, control_key
from serve.plan import BASE
from serve.planning import ServeOptions, make_plan
from serve.ports import free_port
from serve.traffic import REQUEST_LOG_VARIABLE
from serve.vllm_command import command, environment
from serve.vllm_process import START_METHOD

HOST = "127.0.0.1"
ANSWER_TOKENS = 128
QUESTION = [{"role": "user", "content": "Where does the wind come from?"}]
# what the log says when a part is over
SIGNS = (
    ("imports", re.compile(r"non-default args: ")),
    ("engine's imports", re.compile(r"Initializing a V1 LLM engine ")),
    ("card", re.compile(r"Loading model from scratch|Starting to load model ")),
    ("weights", re.compile(r"Model loading took ")),
    ("compiled", re.compile(r"torch\.compile took ")),
    ("profiled", re.compile(r"GPU KV cache size: ")),
    ("cache", re.compile(r"JIT kernel warmup finished")),
    ("graphs", re.compile(r"Graph capturing finished")),
    ("engine", re.compile(r"init engine .* took")),
    ("server", re.compile(r"Application startup complete")),
)


FORKED = re.compile(r"Overriding VLLM_WORKER_MULTIPROC_METHOD to 'spawn'")
TOUCHED = re.compile(r"Before the fork, CUDA is initialised by:")


class Log:
    """vLLM's output, each line with the seconds since its process began."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.began = time.monotonic()
        self.lines: list[tuple[float, str]] = []
        self._process = process
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self.lines.append((self.seconds(), line.rstrip("\n")))

    def seconds(self) -> float:
        return round(time.monotonic() - self.began, 2)

    def parts(self) -> dict[str, float]:
        """The seconds of each part; one whose sign did not come is in the next."""
        parts, before = {}, 0.0
        for name, sign in SIGNS:
            at = max((when for when, line in self.lines if sign.search(line)), default=None)
            if at is not None and at >= before:
                parts[name] = round(at - before, 2)
                before = at
        return parts

    def touched(self) -> list[str]:
        """The stack of whoever touched the GPU before the fork, and what vLLM says of it."""
        lines = [line for _, line in self.lines]
        at = next((index for index, line in enumerate(lines) if TOUCHED.search(line)), None)
        stack = [] if at is None else lines[at : at + 18]
        return stack + [line for line in lines if FORKED.search(line)]


async def first_token(endpoint: Endpoint, model: str) -> None:
    pieces = stream_chat(endpoint, model, list(QUESTION), Sampling(max_tokens=4, temperature=0.0))
    async with contextlib.aclosing(pieces):
        async for piece in pieces:
            if isinstance(piece, Delta):
                return
    sys.exit("no token came")


async def tokens_a_second(
    endpoint: Endpoint,
    model: str,
    clients: int,
    rounds: int,
    sampling: dict[str, object],
    seconds: float = 0.0,
) -> float:
    """Output tokens a second of `clients` that each ask `rounds` times, one after the other, and on
    until `seconds` are over."""

    async def ask(number: int) -> int:
        body = {
            "model": model,
            "max_tokens": ANSWER_TOKENS,
            "ignore_eos": True,
            "messages": [{"role": "user", "content": f"Number {number}: tell me of the sea."}],
            **sampling,
        }
        asked = 0
        while asked < rounds or time.monotonic() < began + seconds:
            await post(endpoint, "/v1/chat/completions", body)
            asked += 1
        return asked

    began = time.monotonic()
    answers = sum(await asyncio.gather(*(ask(number) for number in range(clients))))
    return round(answers * ANSWER_TOKENS / (time.monotonic() - began), 1)


async def speeds(endpoint: Endpoint, clients: int) -> dict[str, float]:
    rounds = 4 if clients == 1 else 3
    ways: dict[str, tuple[str, dict[str, object]]] = {
        "greedy": ("tuned", {"temperature": 0}),
        "top-p": ("tuned", {"temperature": 0.7, "top_p": 0.9}),
    }
    if clients == 1:
        ways["base"] = (BASE, {"temperature": 0})
    measured = {}
    for name, (model, sampling) in ways.items():
        await tokens_a_second(endpoint, model, clients, 1, sampling)  # what it compiles first
        measured[name] = await tokens_a_second(endpoint, model, clients, rounds, sampling)
    return measured


def wait_until_up(process: subprocess.Popen[str], endpoint: Endpoint, name: str, log: Log) -> None:
    while True:
        with contextlib.suppress(LuthierError):
            if asyncio.run(server_id(endpoint)) == name:
                return
        if process.poll() is not None:
            time.sleep(0.5)
            sys.exit("\n".join(line for _, line in log.lines[-40:]))
        time.sleep(0.1)


def end(process: subprocess.Popen[str]) -> None:
    process.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(15)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)  # its engine outlives it
    process.wait()


class Started:
    """vLLM with Luthier's command and environment and what the arguments change of them."""

    def __init__(
        self, arguments: argparse.Namespace, plain: bool, share: float, beside_bytes: int = 0
    ) -> None:
        words = ["--max-cudagraph-capture-size=512"] if plain else []
        options = ServeOptions(
            extra_args=[*words, *arguments.vllm], gpu_memory=share, beside_bytes=beside_bytes
        )
        plan = make_plan(arguments.model.resolve(), BASE, [], HOST, free_port(HOST), options)
        self.name = f"bench-{secrets.token_hex(4)}"
        changes = {"VLLM_ENABLE_STARTUP_PLAN": "0"} if plain else {}
        changes |= {START_METHOD: arguments.method} if arguments.method else {}
        changes |= dict(pair.split("=", 1) for pair in arguments.env)
        variables = {**environment(plan, self.name), REQUEST_LOG_VARIABLE: "", **changes}
        self.process = subprocess.Popen(
            command(plan, sys.executable),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            env={**variables, "PYTHONUNBUFFERED": "1"},
            start_new_session=True,
        )
        self.log = Log(self.process)
        address = f"http://{HOST}:{plan.port}"
        self.control = Endpoint(address, control_key())
        self.client = Endpoint(address, client_key())

    def load(self, adapter: Path) -> float:
        """Have it serve the adapter as "tuned". The seconds until it was up without."""
        wait_until_up(self.process, self.control, self.name, self.log)
        seconds = self.log.seconds()
        asyncio.run(load_adapter(self.control, "tuned", adapter.resolve()))
        return seconds

    def end(self) -> None:
        end(self.process)


def measure_start(arguments: argparse.Namespace) -> None:
    record: dict[str, Any] = {"label": arguments.label}
    server = Started(arguments, arguments.plain, arguments.gpu_memory)
    try:
        record["up"] = server.load(arguments.adapter)
        record["loaded"] = server.log.seconds()
        asyncio.run(first_token(server.client, "tuned"))
        record["first_token"] = server.log.seconds()
        record["parts"] = server.log.parts()
        record["touched"] = server.log.touched()
        print(json.dumps(record), file=sys.stderr, flush=True)
        for clients in filter(None, arguments.clients.split(",")):
            record[f"tokens/s, {clients}"] = asyncio.run(speeds(server.client, int(clients)))
            print(json.dumps(record), file=sys.stderr, flush=True)
    finally:
        server.end()
        if arguments.log is not None:
            text = "".join(f"{when:8.2f} {line}\n" for when, line in server.log.lines)
            arguments.log.write_text(text, encoding="utf-8")
    print(json.dumps(record), flush=True)


def measure_turns(arguments: argparse.Namespace) -> None:
    """Two servers, asked by turns: neither has the warmer card."""
    clients = int(arguments.clients or 64)
    share = min(0.42, arguments.gpu_memory / 2)
    servers: dict[str, Started] = {}
    measured: dict[tuple[str, str], list[float]] = {}
    ways: dict[str, tuple[float, dict[str, object]]] = {
        "top-p": (arguments.seconds, {"temperature": 0.7, "top_p": 0.9}),
        "greedy": (arguments.seconds / 2, {"temperature": 0}),
    }
    try:
        # one after the other: vLLM takes what another one takes meanwhile for its own
        for label in ("luthier", "plain"):
            # with something beside it the cache is given, not measured
            servers[label] = Started(arguments, label == "plain", share, beside_bytes=1)
            up = servers[label].load(arguments.adapter)
            print(json.dumps({"server": label, "up": up}), flush=True)
        for server in servers.values():
            for _, sampling in ways.values():  # what it compiles first
                asyncio.run(tokens_a_second(server.client, "tuned", clients, 2, sampling))
        for way, (seconds, sampling) in ways.items():
            for _ in range(arguments.turns):
                for label, server in servers.items():
                    speed = asyncio.run(
                        tokens_a_second(server.client, "tuned", clients, 1, sampling, seconds)
                    )
                    measured.setdefault((way, label), []).append(speed)
                    line = {"way": way, "server": label, "tokens/s": speed}
                    print(json.dumps(line), flush=True)
    finally:
        for server in servers.values():
            server.end()
    for way in ways:
        middle = {label: round(statistics.median(measured[way, label])) for label in servers}
        ratio = round(middle["luthier"] / middle["plain"], 3)
        print(json.dumps({"way": way, "middle": middle, "luthier / plain": ratio}), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("label")
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--adapter", type=Path, required=True)
    parser.add_argument("--clients", default="")
    parser.add_argument("--vllm", action="append", default=[])
    parser.add_argument("--env", action="append", default=[])
    parser.add_argument("--log", type=Path)
    parser.add_argument("--gpu-memory", type=float, default=0.9)
    parser.add_argument("--plain", action="store_true")
    parser.add_argument("--method", choices=["fork", "spawn"])
    parser.add_argument("--turns", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=20.0)
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped"))  # its server is ended, too
    if arguments.turns:
        measure_turns(arguments)
    else:
        measure_start(arguments)


if __name__ == "__main__":
    main()
