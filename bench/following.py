"""What the app's memory is after an hour of following a run: `python -m bench.following
[--seconds S]`, from the checkout.

The hour is compressed. A run tells the 3,600 steps of an hour at a step a second, with their log
lines, 12 evaluations, 12 checkpoints and 36 samples, in S seconds (180 by default). The list of
jobs is read as often as in an hour, 1,800 times; the run's screen looks for news once a second, as
always, so that it has more of them at once. The app runs on a 140x40
pseudo-terminal on the run's screen; its memory is the resident set from /proc. The exit status is 1
if it ends at 150 MB or more.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from bench.run_screen import HOLD, Terminal, make_run, step_event

LIMIT = 150_000_000  # bytes
HOUR = 3600  # steps
_POLL = 2.0  # seconds between two looks of the app
_PROGRAM = """
import sys
from tui.app import LuthierApp
LuthierApp.POLL_SECONDS = float(sys.argv[1])
LuthierApp().run()
"""


def resident(pid: int) -> int:
    """Bytes of memory that a process has."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmRSS"))


def follow(home: Path, seconds: float) -> dict[str, float]:
    """Megabytes at the beginning, now and then, and at the end."""
    folder = make_run(home, 1, HOUR)
    command = [sys.executable, "-c", HOLD, str(folder / "lock")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        poll = _POLL * seconds / HOUR
        terminal = Terminal(home, _PROGRAM, str(poll))
        try:
            terminal.wait_for(b"long")
            terminal.drain(2.0)
            terminal.press(b"\r")
            terminal.drain(3.0)
            sizes = {"after opening": resident(terminal.pid) / 1e6}
            began = time.monotonic()
            with (
                (folder / "events.jsonl").open("a", buffering=1) as events,
                (folder / "output.log").open("a", buffering=1) as log,
            ):
                for step in range(2, HOUR + 1):
                    for event in told(step):
                        events.write(json.dumps(event) + "\n")
                    log.write(f"step {step} of {HOUR}: {step_event(step, HOUR, 0.0)}\n")
                    terminal.drain(max(0.0, began + step * seconds / HOUR - time.monotonic()))
                    if step % (HOUR // 6) == 0:
                        minutes = f"after {step // 60} min"
                        sizes[minutes] = resident(terminal.pid) / 1e6
            return sizes
        finally:
            terminal.close()
            assert holder.stdin is not None
            holder.stdin.close()


def told(step: int) -> list[dict[str, object]]:
    """What a run tells of a step."""
    now = time.time()
    events: list[dict[str, object]] = [step_event(step, HOUR, now)]
    if step % 300 == 0:
        events.append({"t": now, "kind": "eval", "step": step, "loss": 1.0 + 100 / step})
        events.append({"t": now, "kind": "checkpoint", "step": step, "path": "", "reason": "best"})
        for index in range(3):
            prompt, answer = f"Question {index}? " * 20, f"Answer {step}. " * 60
            sample = {"index": index, "prompt": prompt, "reference": answer, "answer": answer}
            events.append({"t": now, "kind": "sample", "step": step, **sample})
    return events


def main() -> None:
    parser = argparse.ArgumentParser(description="Memory after an hour of following a run.")
    parser.add_argument("--seconds", type=float, default=180.0, help="that the hour takes")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        sizes = follow(Path(directory), arguments.seconds)
    for when, megabytes in sizes.items():
        print(f"{when:<14} {megabytes:6.1f} MB")
    print(f"an hour in {arguments.seconds:.0f} s; goal: under {LIMIT / 1e6:.0f} MB at its end")
    sys.exit([*sizes.values()][-1] * 1e6 >= LIMIT)


if __name__ == "__main__":
    main()
