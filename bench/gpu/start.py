"""What a vLLM's start is made of, and how fast the server is that comes of it: one start a call.

    python -P bench/gpu/start.py LABEL --model FOLDER --adapter FOLDER [--clients 1,64]
        [--vllm=ARGUMENT ...] [--env NAME=VALUE ...] [--plain] [--fork] [--log FILE]

on a GPU machine, with LUTHIER_HOME set: compiled kernels are kept there. vLLM gets the command and
the environment of Luthier's plan, then what --vllm and --env say. `--plain` leaves CUDA graphs and
the measuring of memory to vLLM; `--fork` has the engine forked from the API's process, with what
that has imported. One JSON line: `parts`, the seconds from each sign in vLLM's log to
the next; `loaded`, until the adapter is; `first_token`, of the tuned model, all counted from the
process's start. For each number of --clients: output tokens a second of the tuned model, all of
them asking at once, greedily and with top-p; for one client also the base model's.
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

HOST = "127.0.0.1"
ANSWER_TOKENS = 128
QUESTION = [{"role": "user", "content": "Where does the wind come from?"}]
# Without torchao, which transformers imports and which asks for the GPU's properties at its import:
# a process that has touched the GPU is one that vLLM does not fork.
WITHOUT_TORCHAO = (
    "import runpy, sys; sys.modules['torchao'] = None;"
    " runpy.run_module(sys.argv.pop(1), run_name='__main__')"
)
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


async def first_token(endpoint: Endpoint, model: str) -> None:
    pieces = stream_chat(endpoint, model, list(QUESTION), Sampling(max_tokens=4, temperature=0.0))
    async with contextlib.aclosing(pieces):
        async for piece in pieces:
            if isinstance(piece, Delta):
                return
    sys.exit("no token came")


async def tokens_a_second(
    endpoint: Endpoint, model: str, clients: int, rounds: int, **sampling: object
) -> float:
    """Output tokens a second of `clients` that each ask `rounds` times, one after the other."""

    async def ask(number: int) -> None:
        body = {
            "model": model,
            "max_tokens": ANSWER_TOKENS,
            "ignore_eos": True,
            "messages": [{"role": "user", "content": f"Number {number}: tell me of the sea."}],
            **sampling,
        }
        for _ in range(rounds):
            await post(endpoint, "/v1/chat/completions", body)

    began = time.monotonic()
    await asyncio.gather(*(ask(number) for number in range(clients)))
    return round(clients * rounds * ANSWER_TOKENS / (time.monotonic() - began), 1)


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
        await tokens_a_second(endpoint, model, clients, 1, **sampling)  # what it compiles first
        measured[name] = await tokens_a_second(endpoint, model, clients, rounds, **sampling)
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
    parser.add_argument("--fork", action="store_true")
    arguments = parser.parse_args()
    if arguments.plain:
        arguments.vllm.append("--max-cudagraph-capture-size=512")
        arguments.env.insert(0, "VLLM_ENABLE_STARTUP_PLAN=0")
    if arguments.fork:
        arguments.env.insert(0, "VLLM_WORKER_MULTIPROC_METHOD=fork")
    options = ServeOptions(extra_args=arguments.vllm, gpu_memory=arguments.gpu_memory)
    plan = make_plan(arguments.model.resolve(), BASE, [], HOST, free_port(HOST), options)
    name = f"bench-{secrets.token_hex(4)}"
    changes = dict(pair.split("=", 1) for pair in arguments.env)
    variables = {**environment(plan, name), REQUEST_LOG_VARIABLE: "", **changes}
    words = command(plan, sys.executable)
    if arguments.fork:
        words[words.index("-m")] = "-c"
        words.insert(words.index("-c") + 1, WITHOUT_TORCHAO)
    process = subprocess.Popen(
        words,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        env={**variables, "PYTHONUNBUFFERED": "1"},
        start_new_session=True,
    )
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped"))  # its server is ended, too
    log = Log(process)
    record: dict[str, Any] = {"label": arguments.label}
    try:
        address = f"http://{HOST}:{plan.port}"
        control, client = Endpoint(address, control_key()), Endpoint(address, client_key())
        wait_until_up(process, control, name, log)
        record["up"] = log.seconds()
        asyncio.run(load_adapter(control, "tuned", arguments.adapter.resolve()))
        record["loaded"] = log.seconds()
        asyncio.run(first_token(client, "tuned"))
        record["first_token"] = log.seconds()
        record["parts"] = log.parts()
        for clients in filter(None, arguments.clients.split(",")):
            record[f"tokens/s, {clients}"] = asyncio.run(speeds(client, int(clients)))
            print(json.dumps(record), file=sys.stderr, flush=True)
    finally:
        end(process)
        if arguments.log is not None:
            text = "".join(f"{when:8.2f} {line}\n" for when, line in log.lines)
            arguments.log.write_text(text, encoding="utf-8")
    print(json.dumps(record), flush=True)


if __name__ == "__main__":
    main()
