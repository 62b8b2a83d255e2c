"""What recipes and jobs must know of the regression guard, which workshop.regression runs: the
names of its own probes, its bounds, and the job that it is."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from jobs.spec import Spec

FAMILIES = ("instructions", "arithmetic", "facts", "refusals", "language", "format", "length")
"""The probes that come with Luthier."""
ALL, TEXT = "all", "text"
BASE = "base"
"""The model that a run is guarded against unless another run takes its place."""
"""All probes together; loss on plain text."""
DEFAULT_POINTS = 10.0
DEFAULT_TEXT_LOSS = 0.3
_WORKER = "workshop.regression.worker"


@dataclass(frozen=True)
class Bounds:
    """How much worse than its base a tuned model may be."""

    points: Mapping[str, float] = field(default_factory=dict)
    """By probe family: how many percentage points fewer items may pass."""
    text_loss: float = DEFAULT_TEXT_LOSS
    """How much higher the mean loss on plain text may be, in nats a token."""

    def of(self, family: str) -> float:
        return self.points.get(family, DEFAULT_POINTS)


def order(name: str, run: str, model: str, settings: dict[str, Any]) -> dict[str, Any]:
    """The job that guards a run: `run` is its folder, or "{job}" where the order stands in the
    run's own `then`. It takes no slots: it asks a server, which has its own."""
    return dataclasses.asdict(
        Spec(
            kind="guard",
            name=f"{name[:34]}-guard",
            module=_WORKER,
            settings={"run": run, "model": model, **settings},
            grace_seconds=30.0,
        )
    )
