"""What another busy program costs the demo: the demo by itself and beside one busy core, in turns.

    python bench/neighbour.py [ROUNDS] [--libgomp]

Each demo runs in a home of its own, in which the built-in model is prepared before, so that only
training, serving and asking count. The neighbour is a process that computes without a pause.
Printed are each demo's seconds by its parts, and the ratio of the medians. `--libgomp` leaves
libgomp's threads spinning for as long as they do by themselves, as a comparison. The exit status is
1 if a quiet demo took more than 240 s, or one with a neighbour more than 1.7 times as long. Other
programs on the machine make both meaningless: the load before each demo is printed.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

QUIET_SECONDS, MOST_RATIO = 240.0, 1.7
CHECKOUT = Path(__file__).resolve().parent.parent
LUTHIER = [sys.executable, "-m", "tui.cli"]
BUSY = [sys.executable, "-c", "while True: pass"]


def luthier(home: Path, *arguments: str, libgomp: bool = False) -> str:
    libgomp_settings = {"GOMP_SPINCOUNT": "infinite"} if libgomp else {}
    environment = {
        **os.environ,
        **libgomp_settings,
        "LUTHIER_HOME": str(home),
        "PYTHONPATH": str(CHECKOUT),
    }
    answer = subprocess.run(
        [*LUTHIER, *arguments], env=environment, capture_output=True, text=True, check=False
    )
    if answer.returncode:
        sys.exit(f"luthier {' '.join(arguments)}: {answer.stderr}")
    return answer.stdout


def phases(home: Path) -> dict[str, float]:
    """Seconds of training and of the server's start, from the events of the demo's two jobs."""
    seconds = {}
    for job in (home / "jobs").iterdir():
        kind = json.loads((job / "spec.json").read_text())["kind"]
        events = [json.loads(line) for line in (job / "events.jsonl").read_text().splitlines()]
        if kind == "run":
            seconds["training"] = events[-1]["t"] - events[0]["t"]
        elif kind == "server":
            ready = next(event for event in events if event.get("name") == "ready")
            seconds["server's start"] = ready["t"] - events[0]["t"]
    return seconds


def demo(prepared: Path, *, busy: bool, libgomp: bool) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        shutil.copytree(prepared / "models", home / "models")
        load = os.getloadavg()[0]
        neighbours = [subprocess.Popen(BUSY) for _ in range(busy)]
        began = time.monotonic()
        try:
            result: dict[str, Any] = json.loads(luthier(home, "demo", "--json", libgomp=libgomp))
        finally:
            for neighbour in neighbours:
                neighbour.kill()
                neighbour.wait()
        seconds = {"in all": time.monotonic() - began, **phases(home)}
        parts = ", ".join(f"{name} {value:.0f} s" for name, value in seconds.items())
        kind = "one busy core" if busy else "quiet"
        print(
            f"{kind:14s} {parts}; in the voice {result['tuned_share']:.0%}; load before {load:.1f}",
            flush=True,
        )
        return seconds


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("rounds", nargs="?", type=int, default=1)
    parser.add_argument("--libgomp", action="store_true")
    options = parser.parse_args()
    quiet, busy = [], []
    with tempfile.TemporaryDirectory() as folder:
        luthier(Path(folder), "models", "import", "builtin")
        for _ in range(options.rounds):
            quiet.append(demo(Path(folder), busy=False, libgomp=options.libgomp)["in all"])
            busy.append(demo(Path(folder), busy=True, libgomp=options.libgomp)["in all"])
    alone, beside = statistics.median(quiet), statistics.median(busy)
    print(f"{alone:.0f} s alone, {beside:.0f} s beside one busy core: {beside / alone:.2f} times")
    return int(alone > QUIET_SECONDS or beside > MOST_RATIO * alone)


if __name__ == "__main__":
    sys.exit(main())
