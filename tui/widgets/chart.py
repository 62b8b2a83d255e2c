"""A small chart by the line API: the loss of each step, the smoothed loss over it, and the evaluations as points."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import ClassVar

from rich.segment import Segment
from rich.style import Style
from textual.events import Resize
from textual.geometry import Size
from textual.reactive import reactive
from textual.strip import Strip
from textual.widget import Widget

from tui.glyphs import glyphs
from tui.series import Series, Span, columns, smoothed

_AXIS = 7
_DOTS = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))
"""Braille dots by row and column of a cell."""


class Canvas:
    """Dots, two columns and four rows a cell. Each cell has the rank of the highest-ranking line in it, whose colour it takes."""

    def __init__(self, width: int, height: int) -> None:
        self.width, self.height = width * 2, height * 4
        self.dots = [[0] * width for _ in range(height)]
        self.ranks = [[0] * width for _ in range(height)]

    def vertical(self, x: int, low: int, high: int, rank: int) -> None:
        """A stroke from dot row `low` to `high`, counted from the bottom. A line of higher rank replaces what is in its cells."""
        for y in range(max(0, low), min(self.height - 1, high) + 1):
            row, column = (self.height - 1 - y) // 4, x // 2
            if rank > self.ranks[row][column]:
                self.dots[row][column], self.ranks[row][column] = 0, rank
            if rank == self.ranks[row][column]:
                self.dots[row][column] |= _DOTS[(self.height - 1 - y) % 4][x % 2]


class LossChart(Widget):
    """Give it the series and the evaluations with `show`; it draws when it has to."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {"chart--raw", "chart--line", "chart--eval", "chart--axis"}
    DEFAULT_CSS = """
    LossChart {
        height: 1fr;
        .chart--raw { color: $primary 35%; }
        .chart--line { color: $primary; }
        .chart--eval { color: $secondary; text-style: bold; }
        .chart--axis { color: $foreground-muted; }
    }
    """
    logarithmic: reactive[bool] = reactive(False)

    def __init__(self) -> None:
        super().__init__()
        self._series = Series()
        self._evals: list[tuple[float, float]] = []
        self._total = 0.0
        self._strips: list[Strip] | None = None

    def show(self, series: Series, evals: list[tuple[float, float]], total: float) -> None:
        """`total` is where the horizontal axis ends."""
        self._series, self._evals, self._total = series, evals, total
        self._forget()

    def watch_logarithmic(self) -> None:
        self._forget()

    def on_resize(self, event: Resize) -> None:
        self._forget()

    def notify_style_update(self) -> None:
        super().notify_style_update()
        self._strips = None

    def _forget(self) -> None:
        self._strips = None
        self.refresh()

    def render_line(self, y: int) -> Strip:
        if self._strips is None:
            self._strips = self._draw(self.size)
        return self._strips[y] if y < len(self._strips) else Strip.blank(self.size.width, self.rich_style)

    def _draw(self, size: Size) -> list[Strip]:
        width, height = size.width - _AXIS, size.height - 1
        if width < 8 or height < 2 or not (self._series.buckets or self._evals):
            return []
        x = Span(0.0, max(self._total, self._series.buckets[-1].start if self._series.buckets else 1.0, 1.0))
        y = self._value_span()
        canvas = Canvas(width, height)
        self._draw_line(canvas, x, y)
        styles = [self.rich_style, self._style("raw"), self._style("line")]
        lines = zip(canvas.dots, canvas.ranks, strict=True)
        rows = [[(_cell(dots, rank), styles[rank]) for dots, rank in zip(*line, strict=True)] for line in lines]
        for step, value in self._evals:
            column, row = int(x.place(step) * (width - 1) + 0.5), height - 1 - int(y.place(self._scaled(value)) * (height - 1) + 0.5)
            if 0 <= row < height and 0 <= column < width:
                rows[row][column] = (glyphs().eval_point, self._style("eval"))
        labels = self._labels(y, height)
        strips = [Strip([Segment(labels[row], self._style("axis")), *_joined(cells)], size.width) for row, cells in enumerate(rows)]
        return [*strips, Strip([Segment(_foot(x.high, size.width), self._style("axis"))], size.width)]

    def _draw_line(self, canvas: Canvas, x: Span, y: Span) -> None:
        def row(value: float) -> int:
            return int(y.place(self._scaled(value)) * (canvas.height - 1) + 0.5)

        before: tuple[int, int] | None = None
        drawn = columns(self._series, x, canvas.width)
        for column, bucket in drawn:
            canvas.vertical(column, row(bucket.low), row(bucket.high), rank=1)
        for column, value in smoothed(drawn, reach=max(1, canvas.width // 40)):
            here = row(value)
            for between, start, end in _strokes(before, (column, here)):
                canvas.vertical(between, min(start, end), max(start, end), rank=2)
            before = (column, here)

    def _value_span(self) -> Span:
        """From the lowest to the highest value; the first wild steps may leave the picture."""
        highs = sorted(self._scaled(bucket.high) for bucket in self._series.buckets)
        values = [self._scaled(bucket.low) for bucket in self._series.buckets] + [self._scaled(value) for _, value in self._evals]
        top = max([*highs[: max(1, math.ceil(len(highs) * 0.995))], *values])
        low = min(values)
        margin = (top - low) * 0.04 or 0.05
        return Span(low - margin, top + margin)

    def _scaled(self, value: float) -> float:
        return math.log10(max(value, 1e-9)) if self.logarithmic else value

    def _labels(self, y: Span, height: int) -> list[str]:
        """A figure every few rows, at least at the top and the bottom."""
        parts = max(1, (height - 1) // 3)
        ticks = {round(part * (height - 1) / parts) for part in range(parts + 1)}
        labels = []
        for row in range(height):
            value = y.low + (y.high - y.low) * (height - 1 - row) / (height - 1)
            figure = f"{10**value if self.logarithmic else value:.2f}" if row in ticks else ""
            labels.append(f"{figure:>{_AXIS - 2}} {glyphs().axis}")
        return labels

    def _style(self, part: str) -> Style:
        return self.get_component_rich_style(f"chart--{part}")


def _strokes(before: tuple[int, int] | None, here: tuple[int, int]) -> list[tuple[int, int, int]]:
    """The vertical strokes, one a column, that join two points without a gap."""
    if before is None:
        return [(here[0], here[1], here[1])]
    (x0, y0), (x1, y1) = before, here
    rows = [round(y0 + (y1 - y0) * step / (x1 - x0)) for step in range(x1 - x0 + 1)]
    return [(x0 + index + 1, start, end) for index, (start, end) in enumerate(pairwise(rows))]


def _cell(dots: int, rank: int) -> str:
    if not dots:
        return " "
    return chr(0x2800 + dots) if glyphs().braille else ".*"[rank - 1]


def _joined(cells: list[tuple[str, Style]]) -> list[Segment]:
    """Neighbours of one style as one segment."""
    segments: list[Segment] = []
    for text, style in cells:
        if segments and segments[-1].style == style:
            segments[-1] = Segment(segments[-1].text + text, style)
        else:
            segments.append(Segment(text, style))
    return segments


def _foot(last: float, width: int) -> str:
    """The steps under the axis: 0, half-way and the last one."""
    inner = width - _AXIS
    half, end = f"{last / 2:.0f}", f"{last:.0f}"
    middle = inner // 2 - len(half) // 2
    return (" " * _AXIS + "0".ljust(middle) + half).ljust(width - len(end)) + end
