"""A chart as rows of cells: axes with figures, the values with their smoothed line, points, marks,
and a cursor."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from tui.runs.charts.canvas import Canvas, Cell
from tui.shared.glyphs import glyphs
from workshop.runs import ticks
from workshop.runs.curve import Column, Curve, Span, columns
from workshop.runs.ticks import Unit

_LEFT = 6  # cells of the vertical axis; more, where its figures need them
_ROWS_A_TICK = 3
_CELLS_A_TICK = 11
_CELLS_A_SIGN = 18
_CELLS_A_POINT = 6
_WILD = 100  # one of so many columns may leave the axis, but only where there are many


@dataclass(frozen=True)
class Line:
    """One curve of a picture. `slot` is the run's number, which gives its colour and sign. `window`
    smooths it (1: not at all); `band` draws the values themselves, faintly, below the smoothed
    line. `points`: each value has a sign."""

    curve: Curve
    slot: int = 0
    window: int = 1
    band: bool = True
    points: bool = False
    style: str = ""
    sign: str = ""


@dataclass(frozen=True)
class Mark:
    """Something that happened at a step. An `important` one has a line through the whole picture,
    and its `name` on paper."""

    step: int
    sign: str
    style: str = "mark"
    important: bool = False
    name: str = ""
    minor: bool = False
    "Left out where there are too many of its kind."


@dataclass(frozen=True)
class Plot:
    """What is to be drawn."""

    lines: Sequence[Line]
    span: Span
    unit: Unit = "plain"
    logarithmic: bool = False
    from_zero: bool = False
    marks: Sequence[Mark] = ()
    cursor: float | None = None
    selected: Span | None = None
    axes: bool = True
    "False: small, with the highest and lowest figure only."


@dataclass
class Picture:
    """`rows` of cells from the top. The columns of the plot itself begin at `left`; `steps` is what
    they show."""

    rows: list[list[Cell]] = field(default_factory=list)
    left: int = 0
    steps: Span = field(default_factory=lambda: Span(0, 1))

    @property
    def columns(self) -> int:
        return len(self.rows[0]) - self.left if self.rows else 0

    def step_at(self, x: int) -> float | None:
        """The step in the middle of a cell, counted from the picture's left edge; None beside the
        plot."""
        column = x - self.left
        return self.steps.at((column + 0.5) / self.columns) if 0 <= column < self.columns else None


@dataclass(frozen=True)
class Drawn:
    """A line's visible columns and, for each, its lowest and highest value."""

    line: Line
    columns: list[Column]
    extremes: list[tuple[float, float]]


def draw(plot: Plot, width: int, height: int) -> Picture:
    """The picture in so many cells; without rows where there is no room or nothing to draw."""
    plot_rows = height - 2 if plot.axes else height
    if width < 16 or plot_rows < 2:
        return Picture()
    drawn = [visible(line, plot, 2 * (width - _LEFT)) for line in plot.lines]
    y = value_span(plot, [pair for curve in drawn for pair in curve.extremes])
    if y is None:
        return Picture()
    places = _y_ticks(plot, y, plot_rows)
    left = max(_LEFT, *(len(label) + 2 for label in places.values()))
    inner = width - left
    if left > _LEFT:
        drawn = [visible(line, plot, 2 * inner) for line in plot.lines]
    canvas = Canvas(inner, plot_rows)
    for curve in drawn:
        _draw_line(canvas, curve, plot, y)
    rows = canvas.cells(glyphs().braille)
    _grid(rows, places, plot)
    for curve in drawn:
        _signs(rows, curve, plot, y)
    _clipped(rows, drawn, y, plot)
    _verticals(rows, plot)
    signs = glyphs()
    for number, row in enumerate(rows):
        text = places.get(number, "")
        row[:0] = [Cell(char, "axis") for char in f"{text:>{left - 2}} "] + [
            Cell(signs.axis_tick if text else signs.axis, "rule")
        ]
    if plot.axes:
        rows += _foot(plot, left, inner)
    return Picture(rows, left, plot.span)


def visible(line: Line, plot: Plot, dots: int) -> Drawn:
    """What of a line is seen in so many columns."""
    pixel_columns = columns(line.curve, plot.span, dots)
    return Drawn(
        line,
        pixel_columns,
        [line.curve.extremes(column.start, column.end) for column in pixel_columns],
    )


def scaled(value: float, plot: Plot) -> float:
    """Where a value stands on the plot's axis."""
    return math.log10(max(value, 1e-12)) if plot.logarithmic else value


def value_span(plot: Plot, extremes: list[tuple[float, float]]) -> Span | None:
    """From the lowest to the highest value, scaled. Rare wild ones may leave the picture, if that
    lets the others be seen."""
    if plot.logarithmic:
        extremes = [(low if low > 0 else high, high) for low, high in extremes if high > 0]
    if not extremes:
        return None
    highs = sorted(high for _, high in extremes)
    low, top = min(low for low, _ in extremes), highs[-1]
    usual = highs[-1 - max(1, len(highs) // _WILD)] if len(highs) >= _WILD // 2 else top
    if not plot.logarithmic and top - low > 4 * (usual - low) > 0:
        top = usual
    if plot.from_zero and not plot.logarithmic and low > 0:
        low = 0.0
    low, top = scaled(low, plot), scaled(top, plot)
    room = (top - low) * 0.04 or abs(top) * 0.05 or 0.5
    return Span(low if plot.from_zero and low == 0 else low - room, top + room)


def _row(value: float, y: Span, rows: int) -> int:
    """The row of cells, from the top, that a scaled value falls into."""
    return rows - 1 - min(rows - 1, max(0, int(y.place(value) * rows)))


def value_ticks(plot: Plot, y: Span, most: int) -> list[tuple[float, str]]:
    """The round values of the vertical axis, scaled, with their figures."""
    values = (
        ticks.log_ticks(Span(10**y.low, 10**y.high), most)
        if plot.logarithmic
        else ticks.linear_ticks(y, most)
    )
    names = ticks.labels(values, plot.unit, plot.logarithmic)
    return [(scaled(value, plot), name) for value, name in zip(values, names, strict=True)]


def _y_ticks(plot: Plot, y: Span, rows: int) -> dict[int, str]:
    """The figures of the vertical axis by row."""
    most = max(2, rows // _ROWS_A_TICK) if plot.axes else max(2, (rows + 1) // 2)
    places: dict[int, str] = {}
    for value, name in value_ticks(plot, y, most):
        places.setdefault(_row(value, y, rows), name)
    return places or {
        rows - 1: ticks.labels([10**y.low if plot.logarithmic else y.low], plot.unit)[0]
    }


def _draw_line(canvas: Canvas, drawn: Drawn, plot: Plot, y: Span) -> None:
    """The values faintly, the smoothed line over them; or only the values, where nothing is
    smoothed."""
    line, curve = drawn.line, drawn.line.curve

    def dot(value: float) -> int:
        return round(y.place(scaled(value, plot)) * (canvas.height - 1))

    smooth = line.window > 1 and not line.points
    strong = line.style or f"run-{line.slot}"
    if not smooth or line.band:
        rank, style = (1, f"band-{line.slot}") if smooth else (2, strong)
        for column, (low, high) in zip(drawn.columns, drawn.extremes, strict=True):
            canvas.vertical(column.number, dot(low), dot(high), rank, style)
        canvas.path(
            [(column.number, dot(curve.values[column.middle])) for column in drawn.columns],
            rank,
            style,
        )
    if smooth:
        canvas.path(
            [
                (column.number, dot(curve.smoothed(column.middle, line.window)))
                for column in drawn.columns
            ],
            2,
            strong,
        )


def _signs(rows: list[list[Cell]], drawn: Drawn, plot: Plot, y: Span) -> None:
    """The sign of each point; or, where several runs are drawn, the run's sign on its line here and
    there."""
    line, curve = drawn.line, drawn.line.curve
    if not line.sign:
        return
    if line.points:  # each one, unless they would hide the line
        apart = _CELLS_A_POINT if len(drawn.columns) * _CELLS_A_POINT > 2 * len(rows[0]) else 1
        last = -apart
    else:
        apart = _CELLS_A_SIGN
        last = -apart + 3 + 5 * line.slot
    style = line.style or f"run-{line.slot}"
    for column in drawn.columns:
        x = column.number // 2
        if x - last < apart:
            continue
        last = x
        value = (
            curve.values[column.middle]
            if line.points or line.window <= 1
            else curve.smoothed(column.middle, line.window)
        )
        height = scaled(value, plot)
        if y.low <= height <= y.high:
            rows[_row(height, y, len(rows))][x] = Cell(line.sign, style)


def _grid(rows: list[list[Cell]], places: dict[int, str], plot: Plot) -> None:
    """A faint line through the empty cells of each row that has a figure."""
    if plot.axes:
        for number in places:
            for cell in rows[number]:
                if cell.text == " ":
                    cell.text, cell.style = glyphs().grid, "grid"


def _clipped(rows: list[list[Cell]], drawn: list[Drawn], y: Span, plot: Plot) -> None:
    """A sign at the top where a value lies beyond it."""
    for curve in drawn:
        for column, (_, high) in zip(curve.columns, curve.extremes, strict=True):
            if scaled(high, plot) > y.high:
                rows[0][column.number // 2] = Cell(glyphs().beyond, f"run-{curve.line.slot}")


def _column(step: float, plot: Plot, count: int) -> int | None:
    if not plot.span.low <= step <= plot.span.high:
        return None
    return min(count - 1, int(plot.span.place(step) * count))


def _verticals(rows: list[list[Cell]], plot: Plot) -> None:
    """The lines of important marks, the stretch that is being chosen, and the cursor."""
    count = len(rows[0])
    for mark in plot.marks:
        column = _column(mark.step, plot, count) if mark.important else None
        for row in rows if column is not None else []:
            if row[column or 0].text in (" ", glyphs().grid):
                row[column or 0] = Cell(glyphs().mark_line, mark.style)
    steps: set[int] = set()
    if plot.selected is not None:
        steps = {
            n
            for n in range(count)
            if plot.selected.low <= plot.span.at((n + 0.5) / count) <= plot.selected.high
        }
    cursor = None if plot.cursor is None else _column(plot.cursor, plot, count)
    if cursor is not None:
        steps.add(cursor)
    for row in rows:
        for number in steps:
            row[number].under_cursor = True
            if number == cursor and row[number].text in (" ", glyphs().grid):
                row[number].text, row[number].style = glyphs().axis, "rule"


def _foot(plot: Plot, left: int, inner: int) -> list[list[Cell]]:
    """The horizontal axis with the marks on it, and its figures below."""
    signs = glyphs()
    values = ticks.linear_ticks(plot.span, max(1, inner // _CELLS_A_TICK))
    names = ticks.labels(values, "count")
    rule = (
        [Cell(" ")] * (left - 1)
        + [Cell(signs.corner, "rule")]
        + [Cell(signs.bar_rest, "rule") for _ in range(inner)]
    )
    text = [Cell() for _ in range(left + inner)]
    free = 0
    for value, name in zip(values, names, strict=True):
        at = left + (_column(value, plot, inner) or 0)
        rule[at] = Cell(signs.foot_tick, "rule")
        start = min(max(free, at - len(name) // 2), left + inner - len(name))
        if start >= free:
            text[start : start + len(name)] = [Cell(char, "axis") for char in name]
            free = start + len(name) + 1
    too_many = sum(mark.minor for mark in plot.marks) > inner // _CELLS_A_POINT
    for mark in plot.marks:
        column = _column(mark.step, plot, inner)
        if column is not None and not (mark.minor and too_many):
            rule[left + column] = Cell(mark.sign, mark.style)
    return [rule, text]
