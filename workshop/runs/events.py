"""Reading a run's events as they come, in bounded bites. Steps, nearly all there is, are decoded
many at a time."""

from __future__ import annotations

import math
from pathlib import Path

from jobs.events import parse_line
from jobs.foreign_json import Damaged
from models import foreign
from models.events import Step
from workshop.runs.record import RunRecord

_BITE = 1 << 20
_STEP = b'"kind": "step"'
_decoder = foreign.Decoder(Step)


class RunReader:
    """Keeps a record up to date with the file of its events. `skipped` counts lines that are
    none."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.record = RunRecord()
        self.skipped = 0
        self._offset = 0
        self._size = 0

    @property
    def share(self) -> float:
        """How much of the file has been read, from 0 to 1."""
        return self._offset / self._size if self._size else 1.0

    @property
    def whole(self) -> bool:
        return self._offset >= self._size

    def behind(self) -> int:
        """How many bytes there are yet to read."""
        try:
            self._size = self.path.stat().st_size
        except FileNotFoundError:
            self._size = 0
        return self._size - self._offset

    def read(self, max_bytes: int = _BITE) -> bool:
        """Take in the next whole lines, about so many bytes at most. False if there is nothing new;
        a torn last line is left for later."""
        if self.behind() <= 0:
            return False
        with self.path.open("rb") as file:
            file.seek(self._offset)
            block = file.read(max_bytes)
            if len(block) == max_bytes and not block.endswith(b"\n"):
                block += file.readline()
        end = block.rfind(b"\n") + 1
        if not end:
            return False
        self._offset += end
        self._take(block[: end - 1].split(b"\n"))
        return True

    def _take(self, lines: list[bytes]) -> None:
        steps: list[bytes] = []
        for line in lines:
            if _STEP in line[:64]:
                steps.append(line)
                continue
            self._take_steps(steps)
            steps = []
            event = parse_line(line)
            if event is not None:
                self.record.add(event)
            elif line.strip():
                self.skipped += 1
        self._take_steps(steps)

    def _take_steps(self, lines: list[bytes]) -> None:
        if not lines:
            return
        try:
            steps = _decoder.many(b"\n".join(lines))
            if any(math.isnan(step.t) for step in steps):
                raise Damaged("a step", "it has no time")
            self.record.add_steps(steps)
        except Damaged:  # one of them is torn or has fields of other types: each for itself
            for line in lines:
                event = parse_line(line)
                if event is not None:
                    self.record.add(event)
                else:
                    self.skipped += 1
