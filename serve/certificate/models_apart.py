"""How far models are from each other: what is asked, and what comes of it. Light; serve.certificate
.distance measures."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec

from jobs import processes
from jobs.luthier_error import LuthierError
from models import foreign
from serve.certificate.measured import write
from serve.certificate.turns import Sample

_TICK_SECONDS = 0.1


class ModelsApart(msgspec.Struct, frozen=True):
    """Folders of adapters or models, by name; the distances are to the `first`."""

    base: str
    models: dict[str, str]
    first: str
    device: str
    samples: list[Sample]


class Apart(msgspec.Struct, frozen=True):
    """`problem` says what could not be measured, and why; "" if everything was. The distances are
    the mean absolute difference of the tokens' log-probabilities, in nats a token."""

    problem: str
    tokens: int = 0
    nll: dict[str, float] = {}
    distances: dict[str, float] = {}


def measure(orders: ModelsApart, folder: Path, stopping: Callable[[float], bool]) -> Apart | None:
    """None if it was stopped. `stopping` waits for a stop, and says whether it came."""
    asked, out = folder / "distance-orders.json", folder / "distance.json"
    write(asked, orders)
    command = [sys.executable, "-P", "-m", "serve.certificate.distance", str(asked), str(out)]
    child = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, preexec_fn=processes.end_with_parent
    )
    while child.poll() is None:
        if stopping(_TICK_SECONDS):
            child.kill()
            child.wait()
            return None
    if child.returncode != 0:
        raise LuthierError(
            "transformers could not run",
            f"The process that measures the distance ended with status {child.returncode}.",
            "The log has the details.",
        )
    return foreign.read(out, Apart)
