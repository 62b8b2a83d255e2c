"""What a run of 100,000 steps costs to look at: `python -m bench.run_screen [--steps N] [--seconds
S] [--rate R]`, from the checkout.

The app runs on a 140x40 pseudo-terminal; this process plays the terminal and, in a thread, the run,
which goes on at R steps a second while it is followed. Measured are the time from the key that
opens the run until its last step stands on the terminal, and the share of one core that the app
takes while it follows (user and system time from /proc, the list of jobs behind it included). The
same is told of an app that looks at the list of runs only. The exit status is 1 if opening takes a
second or more, or following 2 % of a core or more.
"""

from __future__ import annotations

import argparse
import fcntl
import json
import math
import os
import pty
import random
import select
import signal
import struct
import subprocess
import sys
import tempfile
import termios
import threading
import time
from pathlib import Path
from typing import Any

OPENS_IN = 1.0  # seconds
FOLLOWS_FOR = 0.02  # of a core
SIZE = (40, 140)
TICKS = os.sysconf("SC_CLK_TCK")
NAME = "20261118-0007-long-00ff"
HOLD = (
    "import fcntl, sys; file = open(sys.argv[1], 'w'); fcntl.lockf(file, fcntl.LOCK_EX);"
    " print('held', flush=True); sys.stdin.read()"
)


def step_event(step: int, total: int, at: float) -> dict[str, Any]:
    """A step with all the figures that the trainer tells."""
    loss = 0.9 + 2.2 * math.exp(-step / (total / 8)) + random.gauss(0, 0.1)
    rate = 2e-4 * min(1.0, step / (total / 20)) * (0.5 + 0.5 * math.cos(math.pi * step / total))
    return {
        "t": round(at, 3),
        "kind": "step",
        "step": step,
        "total": total,
        "epoch": round(3 * step / total, 4),
        "loss": loss,
        "learning_rate": rate,
        "grad_norm": 0.8 + abs(random.gauss(0, 0.3)),
        "tokens_per_second": round(random.gauss(441, 9), 1),
        "tensor_bytes": 1_200_000_000 + 1000 * step,
        "tokens": 4000 * step,
    }


def make_run(home: Path, steps: int, total: int) -> Path:
    """The folder of a run that lives: its past, an evaluation and a checkpoint every 500 steps, and
    a log."""
    folder = home / "jobs" / NAME
    folder.mkdir(parents=True)
    spec = {
        "kind": "run",
        "name": "long",
        "module": "trainer.worker",
        "settings": {"model": "builtin"},
    }
    (folder / "spec.json").write_text(json.dumps(spec))
    began = time.time() - steps
    with (folder / "events.jsonl").open("w") as file:
        for event in (
            {"t": began, "kind": "queued", "attempt": 1},
            {
                "t": began,
                "kind": "started",
                "pid": 4_000_000,
                "shim": 4_000_001,
                "argv": [],
                "slots": [],
            },
            {"t": began, "kind": "plan", "steps": total, "epochs": 3, "global_batch": 16},
        ):
            file.write(json.dumps(event) + "\n")
        for step in range(1, steps + 1):
            file.write(json.dumps(step_event(step, total, began + step)) + "\n")
            if step % 500 == 0:
                file.write(
                    json.dumps(
                        {
                            "t": began + step,
                            "kind": "eval",
                            "step": step,
                            "loss": 1 + 2 * math.exp(-step / 15_000),
                        }
                    )
                    + "\n"
                )
                file.write(
                    json.dumps(
                        {
                            "t": began + step,
                            "kind": "checkpoint",
                            "step": step,
                            "path": "",
                            "reason": "regular",
                        }
                    )
                    + "\n"
                )
    (folder / "output.log").write_text(
        "".join(f"step {step} of {total}\n" for step in range(1, steps + 1))
    )
    return folder


class Run(threading.Thread):
    """The run going on: it tells steps until it is stopped."""

    def __init__(self, folder: Path, step: int, total: int, rate: float) -> None:
        super().__init__(daemon=True)
        self._folder, self._step, self._total, self._rate = folder, step, total, rate
        self.stopped = threading.Event()

    def run(self) -> None:
        with (
            (self._folder / "events.jsonl").open("a", buffering=1) as events,
            (self._folder / "output.log").open("a", buffering=1) as log,
        ):
            while not self.stopped.wait(1 / self._rate):
                self._step += 1
                events.write(json.dumps(step_event(self._step, self._total, time.time())) + "\n")
                log.write(f"step {self._step} of {self._total}\n")


class Terminal:
    """The app on a pseudo-terminal, or a program that runs it; reads what it paints."""

    def __init__(self, home: Path, program: str = "", *arguments: str) -> None:
        command = ["-c", program, *arguments] if program else ["-m", "tui.cli"]
        self.pid, self.descriptor = pty.fork()
        if self.pid == 0:
            os.environ |= {
                "TERM": "xterm-256color",
                "COLORTERM": "truecolor",
                "LUTHIER_HOME": str(home),
            }
            os.execv(sys.executable, [sys.executable, *command])
        fcntl.ioctl(self.descriptor, termios.TIOCSWINSZ, struct.pack("HHHH", *SIZE, 0, 0))
        self.painted = b""

    def press(self, keys: bytes) -> None:
        self.painted = b""
        os.write(self.descriptor, keys)

    def wait_for(self, text: bytes, seconds: float = 30.0) -> None:
        ends = time.monotonic() + seconds
        while text not in self.painted:
            if not select.select([self.descriptor], [], [], max(0.0, ends - time.monotonic()))[0]:
                raise TimeoutError(f"{text!r} was not painted within {seconds} s")
            self.painted += os.read(self.descriptor, 1 << 16)

    def drain(self, seconds: float) -> int:
        """How many bytes it sends in the coming seconds."""
        ends, count = time.monotonic() + seconds, 0
        while select.select([self.descriptor], [], [], max(0.0, ends - time.monotonic()))[0]:
            count += len(os.read(self.descriptor, 1 << 16))
        return count

    def share(self, seconds: float) -> float:
        """The share of a core that the app takes in the coming seconds."""
        before, began = self.cpu_seconds(), time.monotonic()
        self.drain(seconds)
        return (self.cpu_seconds() - before) / (time.monotonic() - began)

    def cpu_seconds(self) -> float:
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICKS

    def close(self) -> None:
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        os.close(self.descriptor)


def measure(steps: int, seconds: float, rate: float, rounds: int) -> dict[str, Any]:
    total = steps + steps // 5
    with tempfile.TemporaryDirectory() as directory:
        home = Path(directory)
        folder = make_run(home, steps, total)
        holder = subprocess.Popen(
            [sys.executable, "-c", HOLD, str(folder / "lock")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert holder.stdout is not None and holder.stdin is not None
        holder.stdout.readline()
        run, terminal = Run(folder, steps, total, rate), Terminal(home)
        try:
            terminal.wait_for(b"long")
            terminal.drain(3.0)
            opened = []
            for _ in range(rounds):
                began = time.monotonic()
                terminal.press(b"\r")
                terminal.wait_for(f"{steps:,} / {total:,}".encode())
                opened.append(time.monotonic() - began)
                terminal.drain(2.0)
                terminal.press(b"\x1b")
                terminal.drain(3.0)
            terminal.press(b"\r")
            terminal.drain(3.0)
            run.start()
            terminal.drain(2.0)
            following = terminal.share(seconds)
            terminal.press(b"2")
            terminal.drain(3.0)
            elsewhere = terminal.share(seconds / 2)
        finally:
            run.stopped.set()
            terminal.close()
            holder.stdin.close()
            holder.wait()
    return {
        "steps": steps,
        "opened_in_seconds": [round(seconds, 2) for seconds in opened],
        "share_of_a_core_following": round(following, 4),
        "of_which_behind_any_screen": round(elsewhere, 4),
        "steps_a_second": rate,
        "limits": {"opened_in_seconds": OPENS_IN, "share_of_a_core_following": FOLLOWS_FOR},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description="What a long run costs to look at.")
    parser.add_argument("--steps", type=int, default=100_000)
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument(
        "--rate", type=float, default=2.0, help="steps a second while it is followed"
    )
    parser.add_argument("--rounds", type=int, default=3, help="how often it is opened")
    arguments = parser.parse_args()
    result = measure(arguments.steps, arguments.seconds, arguments.rate, arguments.rounds)
    print(json.dumps(result, indent=2))
    sys.exit(
        max(result["opened_in_seconds"]) >= OPENS_IN
        or result["share_of_a_core_following"] >= FOLLOWS_FOR
    )


if __name__ == "__main__":
    main()
