"""The same conversations in each optimizer step, however many ranks share it. Heavy: for workers."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence, Sized
from typing import Any

from torch.utils.data import Sampler

from models.samples import UNTRAINED

_FILLER = -1
_FILLER_TOKENS = 2  # the fewest that have a prediction


class RankBatches(Sampler[list[int]]):
    """Micro-batches of the sampler's rows, in its order, `rounds` a rank and optimizer step. accelerate deals them to the ranks in turn.

    The rows left at the end make a step of their own, as they do with one process: they are dealt out evenly, and a rank for which none is
    left computes a filler, which trains nothing. accelerate itself would repeat rows from the beginning.
    """

    def __init__(self, sampler: Sampler[int], micro_batch: int, rounds: int, ranks: int) -> None:
        self.sampler = sampler  # where accelerate looks for it, to put its seeded one in its place
        self._micro_batch, self._rounds, self._ranks = micro_batch, rounds, ranks

    def __iter__(self) -> Iterator[list[int]]:
        step = self._micro_batch * self._rounds * self._ranks
        rows: list[int] = []
        for row in self.sampler:
            rows.append(row)
            if len(rows) == step:
                yield from _dealt(rows, self._rounds * self._ranks)
                rows = []
        if rows:
            yield from _dealt(rows, self._last_rounds(len(rows)) * self._ranks)

    def __len__(self) -> int:
        assert isinstance(self.sampler, Sized)
        steps, left = divmod(len(self.sampler), self._micro_batch * self._rounds * self._ranks)
        return (steps * self._rounds + self._last_rounds(left)) * self._ranks

    def _last_rounds(self, rows: int) -> int:
        return math.ceil(rows / (self._micro_batch * self._ranks))


class Fillable:
    """Rows for a DataLoader that knows the filler."""

    def __init__(self, rows: Any) -> None:
        self._rows = rows

    def __len__(self) -> int:
        return len(self._rows)

    def __getitems__(self, numbers: Sequence[int]) -> list[dict[str, Any]]:
        return [_filler(self._rows[0]) if number == _FILLER else self._rows[number] for number in numbers]


def _dealt(rows: list[int], parts: int) -> Iterator[list[int]]:
    """The rows in order, in so many parts whose sizes differ by one at most."""
    size, more = divmod(len(rows), parts)
    start = 0
    for part in range(parts):
        end = start + size + (part < more)
        yield rows[start:end] or [_FILLER]
        start = end


def _filler(row: dict[str, Any]) -> dict[str, Any]:
    """The beginning of a row with nothing to learn."""
    short = {name: values[:_FILLER_TOKENS] for name, values in row.items()}
    return {**short, "labels": [UNTRAINED] * len(short["labels"])}
