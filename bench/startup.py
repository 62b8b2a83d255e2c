"""How long Luthier's first paint takes, of an empty home and of Runs, against a bare Textual app
with about the same widgets.

    python bench/startup.py [ROUNDS]

Each round starts the apps in processes of their own, in turns. A process tells the time from its
start, imports included, to the end of the first refresh of the first screen, and the processor time
it took. The ratios of the medians are held against the limit; the exit status is 1 above it. On a
busy machine only the ratio of processor time means anything.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

LIMIT = 1.3
CHECKOUT = Path(__file__).resolve().parent.parent

# All say when they have painted, and leave. The clock starts in the parent, just before the
# process does.
FIRST_PAINT = """
import os, sys, time
def on_ready(app):
    app.screen.call_after_refresh(painted, app)
def painted(app):
    wall, processor = time.monotonic_ns() - int(sys.argv[1]), time.process_time_ns()
    os.write(1, f"{wall / 1e6} {processor / 1e6}".encode())
    app.exit()
"""

LUTHIER = """
from tui import garbage
garbage.put_off()  # as the command does
from tui.app import LuthierApp
LuthierApp.on_ready = on_ready
LuthierApp("{start_screen}").run(headless=True, size=(120, 40))
"""

BARE = """
from textual.app import App
from textual.containers import Horizontal, Vertical
from textual.widgets import Input, OptionList, Static
class Bare(App):
    def compose(self):
        with Horizontal():
            for title in ("Luthier", "1 Runs", "2 Models", "3 Serve", "4 Chat", "idle"):
                yield Static(title)
        with Vertical():
            yield Static("name  state  progress")
            yield OptionList()
        yield Static("Nothing has run here yet.")
        with Horizontal():
            with Vertical():
                yield Static()
                yield Static()
            yield Static()
        yield Input(compact=True)
        yield Static("n new run")
        yield Static("needs 60x15")
Bare.on_ready = on_ready
Bare().run(headless=True, size=(120, 40))
"""


PROGRAMS = {
    "home": LUTHIER.format(start_screen="home"),
    "runs": LUTHIER.format(start_screen="runs"),
    "bare": BARE,
}


class Paint(NamedTuple):
    """Milliseconds from the start of a process to the first paint of its app."""

    wall: float
    processor: float


def first_paint(program: str, home: str) -> Paint:
    """Start it once."""
    environment = {
        **os.environ,
        "LUTHIER_HOME": home,
        "PYTHONPATH": str(CHECKOUT),
        "TEXTUAL_ANIMATIONS": "none",
    }
    # of all alike, wherever the shell would have it
    environment["PYTHONPYCACHEPREFIX"] = str(Path(home) / "bytecode")
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    command = [sys.executable, "-c", FIRST_PAINT + program, str(time.monotonic_ns())]
    answer = subprocess.run(
        command, env=environment, cwd=home, capture_output=True, text=True, check=True
    )
    return Paint(*map(float, answer.stdout.split()))


def main() -> None:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 9
    paints: dict[str, list[Paint]] = {name: [] for name in PROGRAMS}
    with tempfile.TemporaryDirectory() as home:
        for program in PROGRAMS.values():  # byte code and disk cache
            first_paint(program, home)
        for _ in range(rounds):
            for name, program in PROGRAMS.items():
                paints[name].append(first_paint(program, home))
    medians = {
        name: Paint(*(statistics.median(times) for times in zip(*of_name, strict=True)))
        for name, of_name in paints.items()
    }
    print(f"first paint, medians of {rounds}: ms, and of these on a processor")
    for name, (wall, processor) in medians.items():
        print(f"  {name}  {wall:5.0f}  {processor:5.0f}")
    ratios = []
    for name in ("home", "runs"):
        wall, processor = (
            mine / its for mine, its in zip(medians[name], medians["bare"], strict=True)
        )
        print(f"{name}: ratio {wall:.2f}, on a processor {processor:.2f} (limit {LIMIT})")
        ratios.append(wall)
    sys.exit(max(ratios) > LIMIT)


if __name__ == "__main__":
    main()
