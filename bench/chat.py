"""What streaming into two panes costs: `python -m bench.chat`, from the checkout.

The app runs on a 140x40 pseudo-terminal against the fake server, which is a process of its own.
Both panes get 600 tokens at 100 tokens/s, and what comes is written to chats.db all the while.
Printed, as JSON: the share of one core that the app took while it streamed (user and system time
from /proc), the time from the request to the first token's receipt with a server that answers at
once, in the app and in a bare client that asks two answers at once just before, and from that
receipt to the token's bytes on the terminal (one clock: Linux).
"""

from __future__ import annotations

import argparse
import asyncio
import fcntl
import json
import os
import pty
import select
import signal
import statistics
import struct
import subprocess
import sys
import tempfile
import termios
import time
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import httpx

from serve.client import ChatMessage, Delta, Endpoint, Finished, Sampling, stream_chat
from tests.fakes.openai_server import FAKE_KEY

SIZE = (40, 140)
TOKENS = 600
RATE = 100
TICKS = os.sysconf("SC_CLK_TCK")


def run_app(url: str, record: Path) -> None:
    """The app itself, in the child: like the real one, but with the fake endpoint and a record of
    when first tokens came."""
    from serve.chats.turns import Speaker
    from tui.app import LuthierApp
    from tui.chat.screen import ChatScreen
    from workshop.chat.server import ChatServer

    async def recorded(
        endpoint: Endpoint,
        model: str,
        messages: list[ChatMessage],
        sampling: Sampling,
        tools: Sequence[dict[str, object]] = (),
    ) -> AsyncIterator[Delta | Finished]:
        waiting = True
        async for item in stream_chat(endpoint, model, messages, sampling, tools):
            if waiting:
                waiting = False
                with record.open("a") as file:
                    file.write(json.dumps({"model": model, "received": time.monotonic()}) + "\n")
            if isinstance(item, Finished):
                with record.open("a") as file:
                    file.write(
                        json.dumps(
                            {
                                "model": model,
                                "first_token": item.time_to_first_token,
                                "finished": time.monotonic(),
                            }
                        )
                        + "\n"
                    )
            yield item

    server = ChatServer(
        Endpoint(url, FAKE_KEY), (Speaker("base"), Speaker("captain", "tuned")), 8192
    )
    LuthierApp.MODES["chat"] = lambda: ChatScreen(lambda: server, recorded)
    LuthierApp(start_screen="chat").run()


class Terminal:
    """The app on a pseudo-terminal; reads what it paints."""

    def __init__(self, url: str, record: Path, home: str) -> None:
        self.pid, self.descriptor = pty.fork()
        if self.pid == 0:
            os.environ |= {"TERM": "xterm-256color", "COLORTERM": "truecolor", "LUTHIER_HOME": home}
            os.execv(
                sys.executable,
                [sys.executable, "-m", "bench.chat", "--app", url, "--record", str(record)],
            )
        fcntl.ioctl(self.descriptor, termios.TIOCSWINSZ, struct.pack("HHHH", *SIZE, 0, 0))
        self.painted = b""

    def wait_for(self, text: bytes, count: int, seconds: float) -> list[float]:
        """When `text` had been painted once, twice, ... `count` times."""
        times: list[float] = []
        ends = time.monotonic() + seconds
        while len(times) < count:
            if not select.select([self.descriptor], [], [], max(0.0, ends - time.monotonic()))[0]:
                raise TimeoutError(f"{text!r} was not painted within {seconds} s")
            self.painted += os.read(self.descriptor, 1 << 16)
            times += [time.monotonic()] * (min(count, self.painted.count(text)) - len(times))
        return times

    def drain(self, seconds: float) -> None:
        ends = time.monotonic() + seconds
        while select.select([self.descriptor], [], [], max(0.0, ends - time.monotonic()))[0]:
            os.read(self.descriptor, 1 << 16)

    def cpu_seconds(self) -> float:
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICKS

    def close(self) -> None:
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        os.close(self.descriptor)


async def bare(url: str) -> list[float]:
    """Milliseconds to the first token of two answers at once, with nothing around them but
    httpx."""
    body = {"messages": [{"role": "user", "content": "go"}], "stream": True, "max_tokens": TOKENS}
    tls = httpx.create_ssl_context(verify=False)

    async def first(model: str) -> float:
        started = time.monotonic()
        headers = {"Authorization": f"Bearer {FAKE_KEY}"}
        async with (
            httpx.AsyncClient(headers=headers, verify=tls, trust_env=False) as client,
            client.stream(
                "POST", f"{url}/v1/chat/completions", json={"model": model, **body}
            ) as response,
        ):
            async for block in response.aiter_bytes():
                if b'"content"' in block:
                    break
            return 1000 * (time.monotonic() - started)

    return list(await asyncio.gather(first("base"), first("captain")))


def one_turn(terminal: Terminal, record: Path) -> dict[str, Any]:
    record.write_text("")
    terminal.painted = b""
    os.write(terminal.descriptor, b"go\r")
    before = terminal.cpu_seconds()
    started = time.monotonic()
    painted = terminal.wait_for(b"word0", 2, 20)
    lines: list[dict[str, Any]] = []
    while len([line for line in lines if "finished" in line]) < 2:
        terminal.drain(0.1)
        lines = [json.loads(line) for line in record.read_text().splitlines()]
    terminal.drain(0.5)
    seconds = time.monotonic() - started
    received = sorted(line["received"] for line in lines if "received" in line)
    return {
        "cpu_share": (terminal.cpu_seconds() - before) / seconds,
        "to_receipt_ms": [1000 * line["first_token"] for line in lines if "finished" in line],
        "to_paint_ms": [
            1000 * (paint - receipt) for paint, receipt in zip(painted, received, strict=True)
        ],
    }


def measure(turns: int) -> dict[str, Any]:
    command = [
        sys.executable,
        "-m",
        "tests.fakes.openai_server",
        "--rate",
        str(RATE),
        "--words",
        str(TOKENS),
    ]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None
        url = server.stdout.readline().strip()
        with tempfile.TemporaryDirectory() as home:
            terminal = Terminal(url, Path(home) / "record.jsonl", home)
            try:
                terminal.wait_for(b"sk all", 1, 20)
                terminal.drain(1.0)
                asyncio.run(bare(url))
                results, bares = [], []
                for _ in range(turns):
                    bares += asyncio.run(bare(url))
                    results.append(one_turn(terminal, Path(home) / "record.jsonl"))
                before = terminal.cpu_seconds()
                terminal.drain(5.0)
                idle = (terminal.cpu_seconds() - before) / 5
            finally:
                terminal.close()
    finally:
        server.terminate()
        server.wait()
    receipts = [value for result in results[1:] for value in result["to_receipt_ms"]]
    paints = [value for result in results for value in result["to_paint_ms"]]
    return {
        "cpu_share_streaming": [round(result["cpu_share"], 3) for result in results],
        "cpu_share_idle": round(idle, 3),
        "first_token_to_receipt_ms": {
            "median": round(statistics.median(receipts), 1),
            "worst": round(max(receipts), 1),
        },
        "bare_client_ms": {
            "median": round(statistics.median(bares), 1),
            "worst": round(max(bares), 1),
        },
        "added_to_receipt_ms": round(statistics.median(receipts) - statistics.median(bares), 1),
        "receipt_to_paint_ms": {
            "median": round(statistics.median(paints), 1),
            "worst": round(max(paints), 1),
        },
    }


def main() -> None:
    parser = argparse.ArgumentParser(description="What streaming into two panes costs.")
    parser.add_argument("--turns", type=int, default=4)
    parser.add_argument("--app", help=argparse.SUPPRESS)
    parser.add_argument("--record", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.app:
        run_app(arguments.app, arguments.record)
    else:
        print(json.dumps(measure(arguments.turns), indent=2))


if __name__ == "__main__":
    main()
