"""The same conversations in each optimizer step, however many ranks share it. Heavy: for
workers."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sized
from itertools import accumulate
from typing import Any

from torch.utils.data import Sampler

from models.stored_sample import UNTRAINED

_FILLER = -1
_FILLER_TOKENS = 2  # the fewest that have a prediction


class RankBatches(Sampler[list[int]]):
    """Micro-batches of the sampler's rows, in its order, `rounds` a rank and optimizer step.
    accelerate deals them to the ranks in turn.

    The rows left at the end make a step of their own, as they do with one process: they are dealt
    out evenly, and a rank for which none is left computes a filler, which trains nothing.
    accelerate itself would repeat rows from the beginning. It takes micro-batches of any size from
    a batch sampler that has no `batch_size`.
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
                yield from self._filled(rows, self._rounds * self._ranks)
                rows = []
        if rows:
            yield from self._filled(rows, self._last_rounds(len(rows)) * self._ranks)

    def deal(self, rows: list[int], parts: int) -> list[list[int]]:
        """The rows in order, in so many parts whose sizes differ by one at most."""
        size, longer = divmod(len(rows), parts)
        ends = list(accumulate(size + (part < longer) for part in range(parts)))
        return [rows[start:end] for start, end in zip([0, *ends], ends, strict=False)]

    def _filled(self, rows: list[int], parts: int) -> Iterator[list[int]]:
        return (part or [_FILLER] for part in self.deal(rows, parts))

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

    def __getitems__(self, numbers: list[int]) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = (
            [_filler(self._rows[0])] if numbers == [_FILLER] else self._rows.__getitems__(numbers)
        )
        return rows


def _filler(row: dict[str, Any]) -> dict[str, Any]:
    """The beginning of a row with nothing to learn."""
    short = {name: values[:_FILLER_TOKENS] for name, values in row.items()}
    return {**short, "labels": [UNTRAINED] * len(short["labels"])}
