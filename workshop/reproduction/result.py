"""What a reproduction has come to: `reproduction.json` in its job's folder."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from jobs.files import write_json
from models import foreign
from models.certificate import Check, Verdict, worst

RESULT_FILE = "reproduction.json"


@dataclass(frozen=True)
class Reproduction:
    """`again` is the run that was trained, `seed_run` the one of another seed ("" for none).
    Distances are in nats a token, over `tokens` tokens; None where they were not measured."""

    source: str
    run: str
    again: str
    checks: list[Check]
    same_bits: bool
    seed_run: str = ""
    distance: float | None = None
    seed_distance: float | None = None
    tokens: int = 0
    nll: dict[str, float] = field(default_factory=dict)
    seconds: float = 0.0

    @property
    def verdict(self) -> Verdict:
        return worst(check.verdict for check in self.checks)

    @property
    def headline(self) -> str:
        """The result in a sentence."""
        if self.same_bits:
            beside = (
                ""
                if self.seed_distance is None
                else f" Another seed is {self.seed_distance:.4f} nats a token away."
            )
            return f"The same bits.{beside}"
        if self.distance is None:
            return "Not the same bits; the distance could not be measured."
        if self.seed_distance is None:
            return f"Not the same bits: {self.distance:.4f} nats a token apart."
        return (
            f"Not the same bits: {self.distance:.4f} nats a token apart; another seed is"
            f" {self.seed_distance:.4f} away."
        )

    def to_json(self) -> dict[str, Any]:
        return {"verdict": self.verdict, "headline": self.headline, **asdict(self)}


def write(folder: Path, result: Reproduction) -> None:
    write_json(folder / RESULT_FILE, result.to_json())


def read(folder: Path) -> Reproduction | None:
    """None where there is none yet."""
    try:
        return foreign.read(folder / RESULT_FILE, Reproduction)
    except FileNotFoundError:
        return None
