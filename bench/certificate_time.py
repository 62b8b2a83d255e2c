"""How long a person waits for the certificate and for the guard of the demo's run, part by part.

    python -m bench.certificate_time                       certificate and guard, from a new demo
    python -m bench.certificate_time --run RUN             of a run of $LUTHIER_HOME, no demo
    python -m bench.certificate_time --before bf2d8f8      and the certificate of that commit
        --before-home DIR                                  with the demo's run of that home

Each is the command as somebody types it, from a cold start: no server runs before it. A part is
what the job's events call a phase. With `--before` the same demo and the same command run from that
commit's files, in a home of their own, since it cannot read this one's; `--before-home` keeps it,
and its demo is not run again. Exit status 1 if the certificate takes over 90 s longer than before,
or the guard over 3 minutes. For a quiet machine; with a demo of each it takes ten minutes.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_MOST_LONGER, _LONGEST_GUARD = 90.0, 180.0
_CHECKOUT = Path(__file__).resolve().parent.parent
_MAIN = "from tui.cli import main; main()"


@dataclass(frozen=True)
class Timed:
    """A command's seconds, from its start to its end, and those of its parts; the machine's load
    before it, which is other work."""

    seconds: float
    parts: list[tuple[str, float]]
    load: float


class Luthier:
    """The command line of a checkout, with a home of its own."""

    def __init__(self, checkout: Path, home: Path) -> None:
        self._home = home
        self._environment = {
            **os.environ,
            "PYTHONPATH": str(checkout),
            "LUTHIER_HOME": str(home),
            "HF_HUB_OFFLINE": "1",
        }

    def run(self, *arguments: str) -> str:
        ended = subprocess.run(
            [sys.executable, "-P", "-c", _MAIN, *arguments],  # -P: not from the working directory
            env=self._environment,
            stdout=subprocess.PIPE,
            text=True,
            check=False,
        )
        if ended.returncode not in (0, 1) or not ended.stdout:  # 1: a red one, or it failed
            raise SystemExit(f"luthier {' '.join(arguments)} ended with {ended.returncode}")
        return ended.stdout

    def timed(self, *arguments: str) -> Timed:
        """SystemExit if a server runs that would help."""
        if json.loads(self.run("server", "status", "--json")):
            raise SystemExit("A server is running; `luthier server stop` stops it.")
        before, load = self._jobs(), os.getloadavg()[0]
        began, clock = time.monotonic(), time.time()
        self.run(*arguments, "--json")
        seconds = time.monotonic() - began
        new = sorted(self._jobs() - before)
        phases = [phase for job in new for phase in _phases(self._home / "jobs" / job)]
        return Timed(seconds, list(_parts(phases, clock, clock + seconds)), load)

    def _jobs(self) -> set[str]:
        return {path.name for path in (self._home / "jobs").glob("*")}


def _phases(job: Path) -> Iterator[tuple[float, str]]:
    """When each phase of a job began. A server's are told by the job that waits for it."""
    if json.loads((job / "spec.json").read_text())["kind"] == "server":
        return
    for line in (job / "events.jsonl").read_text().splitlines():
        event = json.loads(line)
        if event["kind"] == "phase":
            yield event["t"], event["name"]


def _parts(
    phases: list[tuple[float, str]], began: float, ended: float
) -> Iterator[tuple[str, float]]:
    changes = [(began, "the command starts its job")]
    changes += [phase for phase in phases if phase[0] >= began]
    ends = [when for when, _ in changes[1:]] + [ended]
    seconds: dict[str, float] = {}
    for (when, name), end in zip(changes, ends, strict=True):
        seconds[name] = seconds.get(name, 0.0) + end - when
    yield from seconds.items()


def show(title: str, timed: Timed) -> None:
    print(f"\n{title}: {timed.seconds:.1f} s (load {timed.load:.1f} before it)")
    for name, seconds in timed.parts:
        if seconds >= 0.1:
            print(f"  {seconds:6.1f} s  {name}")
    sys.stdout.flush()


def files_of(commit: str, folder: Path) -> Path:
    """A commit's files, without its repository."""
    archive = folder / "before.tar"
    command = ["git", "-C", str(_CHECKOUT), "archive", "-o", str(archive), commit]
    subprocess.run(command, check=True)
    with tarfile.open(archive) as file:
        file.extractall(folder / "before", filter="data")
    return folder / "before"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--run", help="of $LUTHIER_HOME; else the demo is run in a home of its own")
    parser.add_argument("--before", metavar="COMMIT", help="what the certificate is compared with")
    parser.add_argument(
        "--before-home", type=Path, metavar="DIR", help="that commit's demo is here"
    )
    parser.add_argument("--only", choices=["certificate", "guard"], help="leave the other one out")
    arguments = parser.parse_args()
    slow = []
    with tempfile.TemporaryDirectory(prefix="certificate-time-") as name:
        folder = Path(name)
        home = Path(os.environ["LUTHIER_HOME"]) if arguments.run else folder / "home"
        luthier, run = Luthier(_CHECKOUT, home), arguments.run or "captain"
        if not arguments.run:
            luthier.run("demo", "--json")
        if arguments.only != "guard":
            now = luthier.timed("certify", run)
            show("certificate", now)
            if arguments.before:
                home_before = arguments.before_home or folder / "home-before"
                has_demo = home_before.is_dir()
                before = Luthier(files_of(arguments.before, folder), home_before)
                if not has_demo:
                    before.run("demo", "--json")
                earlier = before.timed("certify", "captain")
                show(f"certificate at {arguments.before}", earlier)
                longer = now.seconds - earlier.seconds
                print(f"\n{longer:+.1f} s (at most {_MOST_LONGER:+.0f} s)")
                slow += ["certificate"] if longer > _MOST_LONGER else []
        if arguments.only != "certificate":
            guarded = luthier.timed("guard", run)
            show("guard", guarded)
            print(f"\nat most {_LONGEST_GUARD:.0f} s")
            slow += ["guard"] if guarded.seconds > _LONGEST_GUARD else []
    sys.exit(1 if slow else 0)


if __name__ == "__main__":
    main()
