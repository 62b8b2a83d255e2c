"""The eval losses of a run out of its whole event file, read on from where the last look ended."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from pathlib import Path

from jobs.events import parse_line
from models.events import Eval, Resumed, typed

_BITE = 4 << 20
_KINDS = re.compile(rb'"kind": "(?:eval|resumed)"')


@dataclass(frozen=True)
class EvalLosses:
    """What evaluations have measured, by step, without the base model's own. `offset` is how far
    the file has been read."""

    by_step: tuple[tuple[int, float], ...] = ()
    offset: int = 0

    @property
    def best(self) -> float | None:
        return min((loss for _, loss in self.by_step), default=None)

    def read_on(self, path: Path) -> EvalLosses:
        """With what has come since. A run that resumed takes later evaluations again."""
        by_step, offset = dict(self.by_step), self.offset
        try:
            with path.open("rb") as file:
                file.seek(offset)
                while block := file.read(_BITE):
                    if not block.endswith(b"\n"):
                        block += file.readline()
                    lines = block[: block.rfind(b"\n") + 1]
                    offset += len(lines)
                    _take(lines, by_step)
                    if len(lines) < len(block):  # a torn last line is left for later
                        break
        except FileNotFoundError:
            return NO_EVAL_LOSSES
        if offset == self.offset:
            return self
        return EvalLosses(tuple(by_step.items()), offset)


NO_EVAL_LOSSES = EvalLosses()


def _take(lines: bytes, by_step: dict[int, float]) -> None:
    for mark in _KINDS.finditer(lines):
        event = parse_line(
            lines[lines.rfind(b"\n", 0, mark.start()) + 1 : lines.find(b"\n", mark.end())]
        )
        match typed(event) if event is not None else None:
            case Eval(step=step, loss=float(loss)) if step > 0 and math.isfinite(loss):
                by_step[step] = loss
            case Resumed(step=step):
                for later in [number for number in by_step if number > step]:
                    del by_step[later]
            case _:
                pass
