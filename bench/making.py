"""How long conversations of 200 passages take with an endpoint that needs a second for each answer.

    python bench/making.py [--passages 200] [--at-once 32] [--seconds 1.0] [qa] [interview]

The documents are the docs of Luthier; the endpoint is the fake of the tests, in this process; the
job is a real one, with its own process. Printed are the seconds from the first question to the last
answer, those of the whole job, and the least that so many requests can take: requests / at once
* seconds. The exit status is 1 if a job takes over 12 s with the numbers above.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(CHECKOUT))

LIMIT = 12.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("methods", nargs="*", default=["qa", "interview"])
    parser.add_argument("--passages", type=int, default=200)
    parser.add_argument("--at-once", type=int, default=32)
    parser.add_argument("--seconds", type=float, default=1.0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        os.environ["LUTHIER_HOME"] = folder
        slowest = max(measured(method, options, Path(folder)) for method in options.methods)
    is_usual = (options.passages, options.at_once, options.seconds) == (200, 32, 1.0)
    sys.exit(is_usual and slowest > LIMIT)


def measured(method: str, options: argparse.Namespace, folder: Path) -> float:
    """Make conversations once, and print the figures. The seconds of the whole job."""
    from jobs.job import wait
    from jobs.state import Done
    from tests.fakes.hostile_server import HostileServer
    from tests.fakes.openai_server import FAKE_KEY
    from tests.workshop.making import interviewer
    from workshop.making.launch import make
    from workshop.making.order import Order, Terms
    from workshop.making.recipe import load

    os.environ["MAKING_KEY"] = FAKE_KEY
    files = [str(path) for path in sorted((CHECKOUT / "docs").glob("*.md"))]
    with HostileServer(share=0.0, seconds=options.seconds) as server:
        server.answer, server.tokens_per_second = interviewer.write, 1e9
        address = f"{server.base_url}/v1"
        terms = Terms(server.models[0], address, key_env="MAKING_KEY", at_once=options.at_once)
        out = str(folder / f"made-{method}")
        job = make(Order(files, out, load(method), terms, limit=options.passages), server.base_url)
        wait(job, 600)
        state = job.state()
        assert isinstance(state, Done), state
        count = len(server.requests)
    phases = {
        event["name"].split()[0]: event["t"] for event in job.events() if event["kind"] == "phase"
    }
    asking = phases["keeping"] - phases["asking"]
    whole_job = state.at - min(event["t"] for event in job.events())
    least = count / options.at_once * options.seconds
    print(
        f"{method}: {state.result['kept']} of {state.result['passages']} passages kept,"
        f" {count} requests, {server.most_at_once} at once: asked in {asking:.1f} s (at least"
        f" {least:.1f}), the whole job {whole_job:.1f} s"
    )
    return float(whole_job)


if __name__ == "__main__":
    main()
