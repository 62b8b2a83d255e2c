"""What the app costs while nothing changes, and how quick it is: `python -m bench.ui [--seconds S]
[--home NAME] [--screen NAME]`, from the checkout.

It opens every screen on a pseudo-terminal of its own: in an empty home, in one with 15 jobs that
have ended, beside an idle server, and where jobs of each kind are at work and only their seconds
count. It prints the kilobytes a second that the screen sends to its terminal, which is what a
remote connection carries, and its share of one core (user and system time). Then it presses a key
again and again in the list of a home with 1,000 jobs, and prints the time until something is
painted. The exit status is 1 if a screen takes 0.3 kB/s or more, or 1 % of a core or more (1 kB/s
or 2 % where jobs are at work), or if a key takes 50 ms or more in the median.
"""

from __future__ import annotations

import argparse
import os
import re
import select
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from bench.run_screen import Terminal
from jobs.home import models_directory
from jobs.spec import Kind
from tests.fakes.openai_server import FAKE_KEY
from tests.tui import folders
from tests.tui.lock_holder import held

KILOBYTES, SHARE = 0.3, 0.01  # a second; of a core
KILOBYTES_AT_WORK, SHARE_AT_WORK = 1.0, 0.02
SCREENS = {
    "runs": b"",
    "models": b"2",
    "serve": b"3",
    "chat": b"4",
    "data": b"5",
    "compare": b"6",
    "board": b"7",
    "settings": b"8",
    "home": b"\x1bOQ",
}
_RUN = {"run": b"/captain done\r\r"}
_AT_WORK = {"waiting": b"/parrot\r\r", "job": b"/checking\r\r"}
_KEY = re.compile(rb"\x1bO.|.", re.DOTALL)
PAINTED_IN = 0.05  # seconds, in the median
_JOBS, _PRESSES = 1000, 40
_SETTLES = 8.0  # seconds, after which what a screen reads is shown


@dataclass(frozen=True)
class Quiet:
    """What one screen took."""

    kilobytes: float
    """A second."""
    share: float
    """Of a core."""

    def is_within(self, kilobytes: float, share: float) -> bool:
        return self.kilobytes < kilobytes and self.share < share


@contextmanager
def empty_home() -> Iterator[None]:
    yield


@contextmanager
def fifteen_jobs() -> Iterator[None]:
    """A job of each kind that has ended in each way."""
    folders.base_model(models_directory() / "builtin")
    folders.all_states()
    for number in range(11, 16):
        job = folders.make_job(f"try-{number}", number, age=4000.0 * number)
        folders.begin(job, 4000.0 * number)
        folders.steps(job, 40, 200, ago=4000.0 * number)
    yield


@contextmanager
def idle_server() -> Iterator[None]:
    """A run, and a server of it that nobody asks anything."""
    folders.base_model(models_directory() / "builtin")
    jobs = folders.all_states()
    keys = Path(os.environ["LUTHIER_HOME"]) / "keys"
    keys.mkdir(mode=0o700)
    (keys / "client").write_text(FAKE_KEY)
    (keys / "client").chmod(0o600)
    command = [sys.executable, "-m", "tests.fakes.openai_server"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            port = int(server.stdout.readline().rpartition(":")[2])
            folders.serve(jobs["captain-server"], "captain", port=port)
            with held(jobs["captain-server"]):
                yield
        finally:
            server.terminate()


_WORKING: dict[Kind, str] = {
    "server": "starting",
    "inspect": "rows",
    "import": "coming",
    "certify": "checking",
}


@contextmanager
def jobs_at_work() -> Iterator[None]:
    """A server that starts, a run before its first step, a look at data, an import and a
    certificate: their phases last, and nothing else happens."""
    folders.base_model(models_directory() / "builtin")
    jobs = folders.all_states()
    for number, (kind, name) in enumerate(_WORKING.items(), start=20):
        jobs[name] = folders.make_job(name, number, age=100.0, kind=kind)
        folders.begin(jobs[name], 100.0)
        folders.write(jobs[name], folders.event("phase", 98.0, name="loading the weights"))
    folders.orders(jobs["rows"], {"sources": ["rows.jsonl"]})
    folders.orders(jobs["coming"], {"source": "hub:a/b", "name": "coming", "out": "coming"})
    with held(jobs["parrot"], *(jobs[name] for name in _WORKING.values())):
        yield


HOMES = {
    "empty home": (empty_home, SCREENS),
    "15 jobs": (fifteen_jobs, SCREENS | _RUN),
    "idle server": (idle_server, SCREENS),
    "at work": (jobs_at_work, SCREENS | _AT_WORK),
}
_GOALS = {"at work": (KILOBYTES_AT_WORK, SHARE_AT_WORK)}


def _drain(terminals: Mapping[str, Terminal], seconds: float) -> dict[str, int]:
    """How many bytes each sends in the coming seconds."""
    ends = time.monotonic() + seconds
    names = {terminal.descriptor: name for name, terminal in terminals.items()}
    counts = dict.fromkeys(terminals, 0)
    while ready := select.select(list(names), [], [], max(0.0, ends - time.monotonic()))[0]:
        for descriptor in ready:
            counts[names[descriptor]] += len(os.read(descriptor, 1 << 16))
    return counts


def measure(home: Path, screens: Mapping[str, bytes], seconds: float) -> dict[str, Quiet]:
    """Each screen in an app of its own, all of them at once."""
    with ExitStack() as closing:
        terminals = {}
        for name in screens:
            terminals[name] = Terminal(home)
            closing.callback(terminals[name].close)
        for name, keys in screens.items():
            terminals[name].wait_for(b"quit", 120)
            terminals[name].drain(1.0)
            for key in _KEY.findall(keys):
                terminals[name].press(key)
                terminals[name].drain(0.05)
        _drain(terminals, _SETTLES)
        before = {name: terminal.cpu_seconds() for name, terminal in terminals.items()}
        began = time.monotonic()
        counts = _drain(terminals, seconds)
        took = time.monotonic() - began
        return {
            name: Quiet(
                counts[name] / took / 1000, (terminals[name].cpu_seconds() - before[name]) / took
            )
            for name in screens
        }


def thousand_jobs() -> None:
    """Runs that have ended, each with two hundred steps and four evaluations."""
    for number in range(1, _JOBS + 1):
        job = folders.make_job(f"try-{number % 50}", number, age=300.0 * number)
        folders.begin(job, 300.0 * number)
        folders.steps(job, 200, 200, ago=300.0 * number)
        folders.write(
            job, folders.event("exited", 300.0 * number - 299, code=0, stopped=True, swept=0)
        )


def key_times(home: Path) -> dict[str, list[float]]:
    """Seconds from a key to the first byte that is painted: moving in the list, and sorting it."""
    terminal = Terminal(home)
    try:
        terminal.wait_for(b"try-", 120)
        terminal.drain(_SETTLES)
        times: dict[str, list[float]] = {}
        for name, keys in (("move", b"jk"), ("sort", b"S")):
            times[name] = []
            for press in range(_PRESSES if name == "move" else _PRESSES // 4):
                began = time.monotonic()
                terminal.press(keys[press % len(keys) : press % len(keys) + 1])
                select.select([terminal.descriptor], [], [], 10.0)
                times[name].append(time.monotonic() - began)
                terminal.drain(0.3)
        return times
    finally:
        terminal.close()


def main() -> None:
    parser = argparse.ArgumentParser(description="What the app costs while nothing changes.")
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--home", choices=HOMES, help="this one only; no key is timed then")
    parser.add_argument(
        "--screen",
        nargs="*",
        choices=sorted({name for _, screens in HOMES.values() for name in screens}),
        help="these only; no key is timed then",
    )
    arguments = parser.parse_args()
    is_good = True
    print(f"{'home':<12} {'screen':<8} {'kB/s':>7} {'core':>8}")
    for title, (make, all_screens) in HOMES.items():
        if arguments.home not in (None, title):
            continue
        names = arguments.screen or all_screens
        screens = {name: keys for name, keys in all_screens.items() if name in names}
        with tempfile.TemporaryDirectory() as directory:
            os.environ["LUTHIER_HOME"] = directory
            folders.NOW = time.time()
            with make():
                for name, quiet in measure(Path(directory), screens, arguments.seconds).items():
                    is_within = quiet.is_within(*_GOALS.get(title, (KILOBYTES, SHARE)))
                    is_good = is_good and is_within
                    note = "" if is_within else "  over the goal"
                    figures = f"{quiet.kilobytes:>7.2f} {quiet.share:>7.2%}"
                    print(f"{title:<12} {name:<8} {figures}{note}", flush=True)
    if arguments.home or arguments.screen:
        sys.exit(not is_good)
    with tempfile.TemporaryDirectory() as directory:
        os.environ["LUTHIER_HOME"] = directory
        folders.NOW = time.time()
        thousand_jobs()
        for name, times in key_times(Path(directory)).items():
            usual = median(times)
            is_good = is_good and usual < PAINTED_IN
            longest = f"longest {1000 * max(times):.0f} ms"
            print(f"{_JOBS} jobs   {name}: {1000 * usual:.0f} ms in the median, {longest}")
    print(f"goal: a key is painted within {1000 * PAINTED_IN:.0f} ms")
    print(f"goal: under {KILOBYTES} kB/s and {SHARE:.0%} of a core on every screen;")
    print(f"      under {KILOBYTES_AT_WORK} kB/s and {SHARE_AT_WORK:.0%} where jobs are at work")
    sys.exit(not is_good)


if __name__ == "__main__":
    main()
