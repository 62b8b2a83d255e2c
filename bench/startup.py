"""How long Luthier's first paint takes, against a bare Textual app with the same widgets.

    python bench/startup.py [ROUNDS]

Each round starts both apps in processes of their own, in turns. A process tells the time from its
start, imports included, to the end of the first refresh of the first screen. The ratio of the
medians is held against the limit; the exit status is 1 above it.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

LIMIT = 1.3
CHECKOUT = Path(__file__).resolve().parent.parent

# Both say when they have painted, and leave. The clock starts in the parent, just before the
# process does.
FIRST_PAINT = """
import os, sys, time
def on_ready(app):
    app.screen.call_after_refresh(painted, app)
def painted(app):
    os.write(1, str((time.monotonic_ns() - int(sys.argv[1])) / 1e6).encode())
    app.exit()
"""

LUTHIER = """
from tui.app import LuthierApp
LuthierApp.on_ready = on_ready
LuthierApp().run(headless=True, size=(120, 40))
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


def first_paint(program: str, home: str) -> float:
    """Milliseconds from the start of a process to the first paint of its app."""
    environment = {
        **os.environ,
        "LUTHIER_HOME": home,
        "PYTHONPATH": str(CHECKOUT),
        "TEXTUAL_ANIMATIONS": "none",
    }
    # of both alike, wherever the shell would have it
    environment["PYTHONPYCACHEPREFIX"] = str(Path(home) / "bytecode")
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    command = [sys.executable, "-c", FIRST_PAINT + program, str(time.monotonic_ns())]
    answer = subprocess.run(
        command, env=environment, cwd=home, capture_output=True, text=True, check=True
    )
    return float(answer.stdout)


def main() -> None:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 9
    luthier, bare = [], []
    with tempfile.TemporaryDirectory() as home:
        for program in (LUTHIER, BARE):  # byte code and disk cache
            first_paint(program, home)
        for _ in range(rounds):
            luthier.append(first_paint(LUTHIER, home))
            bare.append(first_paint(BARE, home))
    ratio = statistics.median(luthier) / statistics.median(bare)
    print(
        f"first paint, medians of {rounds}: luthier {statistics.median(luthier):.0f} ms, bare"
        f" {statistics.median(bare):.0f} ms"
    )
    print(f"ratio {ratio:.2f} (limit {LIMIT})")
    sys.exit(ratio > LIMIT)


if __name__ == "__main__":
    main()
