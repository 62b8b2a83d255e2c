"""Points of a curve, kept small however many there are: buckets that hold their lowest and highest value."""

from __future__ import annotations

import math
from dataclasses import dataclass

_MOST_BUCKETS = 2048


@dataclass
class Bucket:
    """Some neighbouring points: where they begin, their lowest and highest value, their sum and their number."""

    start: float
    low: float
    high: float
    sum: float
    count: int

    @property
    def mean(self) -> float:
        return self.sum / self.count

    def joined(self, other: Bucket) -> Bucket:
        """Both as one; this one lies before the other."""
        return Bucket(self.start, min(self.low, other.low), max(self.high, other.high), self.sum + other.sum, self.count + other.count)


class Series:
    """Grows by `append`; when there are too many buckets, neighbours are joined, so that no peak is lost."""

    def __init__(self) -> None:
        self.buckets: list[Bucket] = []
        self._span = 0.0

    def append(self, x: float, y: float) -> None:
        if not math.isfinite(y):
            return
        bucket = Bucket(x, y, y, y, 1)
        if self.buckets and x < self.buckets[-1].start + self._span:
            self.buckets[-1] = self.buckets[-1].joined(bucket)
            return
        self.buckets.append(bucket)
        if len(self.buckets) > _MOST_BUCKETS:
            self._join()

    def cut(self, x: float) -> None:
        """Forget what lies after `x`: a resumed run takes those steps again."""
        self.buckets = [bucket for bucket in self.buckets if bucket.start <= x]

    def _join(self) -> None:
        pairs = zip(self.buckets[::2], self.buckets[1::2], strict=False)
        odd = self.buckets[-1:] if len(self.buckets) % 2 else []
        self.buckets = [left.joined(right) for left, right in pairs] + odd
        self._span = (self.buckets[-1].start - self.buckets[0].start) / len(self.buckets)


@dataclass(frozen=True)
class Span:
    low: float
    high: float

    def place(self, value: float) -> float:
        """Where the value lies, from 0 to 1."""
        return (value - self.low) / (self.high - self.low) if self.high > self.low else 0.5


def columns(series: Series, x: Span, count: int) -> list[tuple[int, Bucket]]:
    """One bucket for each of `count` columns that has points."""
    found: dict[int, Bucket] = {}
    for bucket in series.buckets:
        index = min(count - 1, max(0, int(x.place(bucket.start) * (count - 1) + 0.5)))
        found[index] = found[index].joined(bucket) if index in found else bucket
    return sorted(found.items())


def smoothed(drawn: list[tuple[int, Bucket]], reach: int) -> list[tuple[int, float]]:
    """The mean over `reach` columns on either side, fewer towards the ends, so that the line neither lags nor bends there."""
    line = []
    for index, (column, _) in enumerate(drawn):
        side = min(reach, index, len(drawn) - 1 - index)
        near = [bucket for _, bucket in drawn[index - side : index + side + 1]]
        line.append((column, sum(bucket.sum for bucket in near) / sum(bucket.count for bucket in near)))
    return line
