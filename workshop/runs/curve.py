"""A curve of any length: each value exactly as it was measured, and its extremes and means over any
stretch in no time."""

from __future__ import annotations

import math
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, islice
from operator import mul

_BLOCK = 16


@dataclass(frozen=True)
class Span:
    """A stretch of an axis."""

    low: float
    high: float

    @property
    def width(self) -> float:
        return self.high - self.low

    def place(self, value: float) -> float:
        """Where the value lies, from 0 to 1 inside the stretch."""
        return (value - self.low) / (self.high - self.low) if self.high > self.low else 0.5

    def at(self, fraction: float) -> float:
        """The value at a place from 0 to 1."""
        return self.low + fraction * (self.high - self.low)


class Curve:
    """Values by step, steps rising. What is not a finite number is left out.

    Running sums give any mean at once; extremes of blocks of 16 points, of 256, and so on give any
    extreme in a few looks. Both are made when they are first asked for, and go on from there.
    """

    def __init__(self) -> None:
        self.steps = array("q")
        self.values = array("d")
        self._sums = array("d", [0.0])
        self._moments = array("d", [0.0])  # sums of value times index, for the slope of a stretch
        self._blocks: list[tuple[array[float], array[float]]] = []

    def __len__(self) -> int:
        return len(self.steps)

    def append(self, step: int, value: float) -> None:
        self.extend([step], [value])

    def extend(self, steps: Sequence[int], values: Sequence[float]) -> None:
        """More points, their steps rising. Steps that the curve has already are taken again: their
        old values go."""
        if not all(map(math.isfinite, values)):
            finite = [
                (step, value)
                for step, value in zip(steps, values, strict=True)
                if math.isfinite(value)
            ]
            steps, values = [step for step, _ in finite], [value for _, value in finite]
        if not steps:
            return
        if self.steps and steps[0] <= self.steps[-1]:
            self.cut(steps[0] - 1)
        self.steps.extend(steps)
        self.values.extend(values)

    def cut(self, step: int) -> None:
        """Forget what lies after `step`: a resumed run takes those steps again."""
        count = bisect_right(self.steps, step)
        del (
            self.steps[count:],
            self.values[count:],
            self._sums[count + 1 :],
            self._moments[count + 1 :],
        )
        for lows, highs in self._blocks:
            count //= _BLOCK
            del lows[count:], highs[count:]

    def _sum_up(self) -> None:
        """Sums up to the last point."""
        summed, count = len(self._sums) - 1, len(self.values)
        if summed < count:
            new = self.values[summed:]
            self._sums.extend(islice(accumulate(new, initial=self._sums[-1]), 1, None))
            self._moments.extend(
                islice(
                    accumulate(map(mul, range(summed, count), new), initial=self._moments[-1]),
                    1,
                    None,
                )
            )

    def _pile_up(self) -> None:
        """Extremes of the blocks that have become full."""
        below_low = below_high = self.values
        for level in range(64):
            full_blocks = len(below_low) // _BLOCK
            if level == len(self._blocks):
                if not full_blocks:
                    return
                self._blocks.append((array("d"), array("d")))
            lows, highs = self._blocks[level]
            if len(lows) == full_blocks:
                return
            for start in range(len(lows) * _BLOCK, full_blocks * _BLOCK, _BLOCK):
                lows.append(min(below_low[start : start + _BLOCK]))
                highs.append(max(below_high[start : start + _BLOCK]))
            below_low, below_high = lows, highs

    def extremes(self, start: int, end: int) -> tuple[float, float]:
        """The lowest and the highest value of the points from `start` up to `end`, at least one."""
        self._pile_up()
        lows = highs = self.values
        low, high = math.inf, -math.inf
        for level in self._blocks:
            if end - start < 2 * _BLOCK:
                break
            first, last = -(-start // _BLOCK), end // _BLOCK
            for edge in (slice(start, first * _BLOCK), slice(last * _BLOCK, end)):
                low, high = min(low, *lows[edge], low), max(high, *highs[edge], high)
            start, end = first, last
            lows, highs = level
        return min(low, *lows[start:end], low), max(high, *highs[start:end], high)

    def mean(self, start: int, end: int) -> float:
        self._sum_up()
        return (self._sums[end] - self._sums[start]) / (end - start)

    def smoothed(self, index: int, window: int) -> float:
        """The mean over `window` steps around a point. Towards the ends, where a side is missing,
        the straight line that fits best what there is, so that the curve neither lags nor bends nor
        hangs on the last value."""
        half = int(window / 2 * len(self.steps) / max(1, self.steps[-1] - self.steps[0] + 1))
        start, end = max(0, index - half), min(len(self.steps), index + half + 1)
        count, middle = end - start, (start + end - 1) / 2
        mean = self.mean(start, end)
        if index == middle or count < 3:
            return mean if index == middle else self.values[index]
        together = self._moments[end] - self._moments[start] - middle * count * mean
        return mean + together / (count * (count * count - 1) / 12) * (index - middle)

    def between(self, span: Span) -> tuple[int, int]:
        """The points of a stretch, as the first one and the one after the last."""
        return bisect_left(self.steps, span.low), bisect_right(self.steps, span.high)

    def nearest(self, step: float) -> int:
        """The point closest to a step. The curve must have one."""
        after = bisect_left(self.steps, step)
        if after == 0:
            return 0
        if after == len(self.steps) or step - self.steps[after - 1] <= self.steps[after] - step:
            return after - 1
        return after

    def value_at(self, step: int) -> float | None:
        """The value of exactly this step."""
        index = bisect_left(self.steps, step)
        return self.values[index] if index < len(self.steps) and self.steps[index] == step else None

    def last_step(self, until: float) -> int | None:
        """The last step up to this one that has a value."""
        index = bisect_right(self.steps, until)
        return self.steps[index - 1] if index else None

    def value_before(self, step: float) -> float | None:
        """The last value up to this step."""
        index = bisect_right(self.steps, step)
        return self.values[index - 1] if index else None


@dataclass(frozen=True)
class Column:
    """The points of one column of a picture: from `start` up to `end`."""

    number: int
    start: int
    end: int

    @property
    def middle(self) -> int:
        return (self.start + self.end - 1) // 2


def columns(curve: Curve, span: Span, count: int) -> list[Column]:
    """The points of a stretch by the column they fall into, of `count` equal ones. Columns without
    points are left out."""
    start, end = curve.between(span)
    pixel_columns: list[Column] = []
    if end - start <= count:
        for index in range(start, end):
            number = min(count - 1, int(span.place(curve.steps[index]) * count))
            if pixel_columns and pixel_columns[-1].number == number:
                pixel_columns[-1] = Column(number, pixel_columns[-1].start, index + 1)
            else:
                pixel_columns.append(Column(number, index, index + 1))
        return pixel_columns
    width = span.width / count
    for number in range(count):
        edge = (
            end
            if number == count - 1
            else bisect_left(curve.steps, span.low + (number + 1) * width, start, end)
        )
        if edge > start:
            pixel_columns.append(Column(number, start, edge))
            start = edge
    return pixel_columns
