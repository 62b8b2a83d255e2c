"""The evaluations of a run out of its whole event file, read on from where the last look ended:
their losses, and what those that are due will take."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from pathlib import Path

from jobs.events import parse_line
from models.events import Eval, Evaluations, Plan, Resumed, typed
from workshop.runs.pace import seconds_of_each

_BITE = 4 << 20
_KINDS = re.compile(rb'"kind": "(?:plan|eval|resumed)"')

_NO_PLAN = Evaluations()


@dataclass(frozen=True)
class EvalLosses:
    """What evaluations have measured, by step, without the base model's own. `offset` is how far
    the file has been read."""

    by_step: tuple[tuple[int, float], ...] = ()
    offset: int = 0
    planned: Evaluations = _NO_PLAN
    seconds_by_step: tuple[tuple[int, float | None], ...] = ()
    """What each took, also the base model's own; None where it was not measured."""

    @property
    def best(self) -> float | None:
        return min((loss for _, loss in self.by_step), default=None)

    @property
    def seconds_due(self) -> float:
        """What the planned evaluations that were not made yet take, about."""
        due = self.planned.evaluations - len(self.seconds_by_step)
        measured = [seconds for _, seconds in self.seconds_by_step if seconds is not None]
        return max(0, due) * seconds_of_each(measured, self.planned).seconds

    def read_on(self, path: Path) -> EvalLosses:
        """With what has come since. A run that resumed takes later evaluations again."""
        offset = self.offset
        read = _Read(dict(self.by_step), dict(self.seconds_by_step), self.planned)
        try:
            with path.open("rb") as file:
                file.seek(offset)
                while block := file.read(_BITE):
                    if not block.endswith(b"\n"):
                        block += file.readline()
                    lines = block[: block.rfind(b"\n") + 1]
                    offset += len(lines)
                    read.take(lines)
                    if len(lines) < len(block):  # a torn last line is left for later
                        break
        except FileNotFoundError:
            return NO_EVAL_LOSSES
        if offset == self.offset:
            return self
        return EvalLosses(
            tuple(read.losses.items()), offset, read.planned, tuple(read.seconds.items())
        )


NO_EVAL_LOSSES = EvalLosses()


@dataclass
class _Read:
    """What lines of events say, in their order."""

    losses: dict[int, float]
    seconds: dict[int, float | None]
    planned: Evaluations

    def take(self, lines: bytes) -> None:
        for mark in _KINDS.finditer(lines):
            event = parse_line(
                lines[lines.rfind(b"\n", 0, mark.start()) + 1 : lines.find(b"\n", mark.end())]
            )
            match typed(event) if event is not None else None:
                case Plan(evaluation=Evaluations() as planned):
                    self.planned = planned
                case Eval(step=step, loss=loss, seconds=seconds):
                    is_measured = seconds is not None and seconds >= 0
                    self.seconds[step] = seconds if is_measured else None
                    if step > 0 and isinstance(loss, float) and math.isfinite(loss):
                        self.losses[step] = loss
                case Resumed(step=step):
                    for by_step in (self.losses, self.seconds):
                        for later in [number for number in by_step if number > step]:
                            del by_step[later]
                case _:
                    pass
