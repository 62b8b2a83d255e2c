"""Charts for paper: one plot, or several beside each other, with axes, a legend and calm colours
that print well."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from tui.runs.charts.picture import Drawn, Plot, scaled, value_span, value_ticks, visible
from tui.runs.charts.shapes import Area, Figure, Marker, Polyline, Shape, Sign, Text
from workshop.runs import ticks
from workshop.runs.curve import Span

COLOURS = ("#b5650f", "#2b6699", "#4a7f2c", "#9c3f7c")
EVAL_COLOUR = "#2b6699"
_DASHES: tuple[tuple[float, ...], ...] = ((), (7, 3), (2, 2.5), (8, 3, 2, 3))
_SIGNS: tuple[Sign, ...] = ("circle", "ring", "diamond", "hollow diamond")
_INK, _MUTED, _RULE, _GRID = "#2e2a23", "#6f6a60", "#8d877b", "#e6e1d8"
_ALONE = (720.0, 420.0)
_ONE_OF_MANY = (480.0, 300.0)
_LEGEND = 26.0
_CHARACTER = 6.1  # points that one takes at 11 points, about
_SIGNS_A_LINE = 7
_MOST_POINTS = 40  # signs; evaluations beyond that are points of the line only


@dataclass(frozen=True)
class Panel:
    """One plot with its title."""

    title: str
    plot: Plot


@dataclass(frozen=True)
class Entry:
    """A line of the legend: a run by its slot, or the evaluations."""

    name: str
    slot: int = 0
    evaluations: bool = False


@dataclass(frozen=True)
class _Frame:
    """Where a plot's values come to lie."""

    left: float
    top: float
    width: float
    height: float
    x: Span
    y: Span

    def at(self, step: float, height: float) -> tuple[float, float]:
        height_share = min(1.0, max(0.0, self.y.place(height)))
        return round(self.left + self.x.place(step) * self.width, 2), round(
            self.top + (1 - height_share) * self.height, 2
        )


def figure(panels: Sequence[Panel], entries: Sequence[Entry]) -> Figure:
    """The panels in two columns, or the only one large, below the legend."""
    width, height = _ALONE if len(panels) == 1 else _ONE_OF_MANY
    across = min(2, len(panels))
    shapes: list[Shape] = list(_legend(entries))
    top = _LEGEND if entries else 0.0
    for number, panel in enumerate(panels):
        shapes += _panel(
            panel, width * (number % across), top + height * (number // across), width, height
        )
    about = (
        f"{', '.join(panel.title for panel in panels)} by step:"
        f" {', '.join(entry.name for entry in entries)}"
    )
    return Figure(width * across, top + height * -(-len(panels) // across), about, tuple(shapes))


def _legend(entries: Sequence[Entry]) -> Iterator[Shape]:
    x, y = 20.0, 20.0
    for entry in entries:
        colour = EVAL_COLOUR if entry.evaluations else COLOURS[entry.slot]
        dash = () if entry.evaluations else _DASHES[entry.slot]
        yield Polyline(((x, y - 4), (x + 26, y - 4)), colour, 1.8, dash=dash)
        if (
            entry.evaluations
            or len(entries) - any(labelled.evaluations for labelled in entries) > 1
        ):
            yield Marker(x + 13, y - 4, "ring" if entry.evaluations else _SIGNS[entry.slot], colour)
        yield Text(x + 32, y, entry.name, 11, _INK)
        x += 32 + _CHARACTER * len(entry.name) + 22


def _panel(panel: Panel, left: float, top: float, width: float, height: float) -> list[Shape]:
    plot = panel.plot
    count = int(width * 1.5)
    drawn = [visible(line, plot, count) for line in plot.lines]
    y = value_span(plot, [pair for curve in drawn for pair in curve.extremes])
    shapes: list[Shape] = [
        Text(
            left + 20,
            top + 24,
            panel.title + (" (log scale)" if plot.logarithmic else ""),
            13,
            _INK,
            bold=True,
        )
    ]
    if y is None:
        return [
            *shapes,
            Text(left + width / 2, top + height / 2, "no values", 11, _MUTED, "middle"),
        ]
    levels = value_ticks(plot, y, max(3, int(height // 60)))
    margin = 30 + _CHARACTER * max(len(name) for _, name in levels)
    frame = _Frame(left + margin, top + 42, width - margin - 24, height - 42 - 44, plot.span, y)
    shapes += _axes(frame, levels)
    shapes += _marks(frame, plot)
    for curve in drawn:
        shapes += _line(frame, curve, plot)
    return shapes


def _axes(frame: _Frame, levels: list[tuple[float, str]]) -> Iterator[Shape]:
    right, bottom = frame.left + frame.width, frame.top + frame.height
    for height, name in levels:
        _, y = frame.at(frame.x.low, height)
        yield Polyline(((frame.left, y), (right, y)), _GRID, 0.8)
        yield Text(frame.left - 8, y + 3.8, name, 11, _MUTED, "end")
    yield Polyline(((frame.left, bottom), (right, bottom)), _RULE, 1.0)
    steps = ticks.linear_ticks(frame.x, max(2, int(frame.width // 90)))
    for step, name in zip(steps, ticks.labels(steps, "count"), strict=True):
        x, _ = frame.at(step, 0)
        yield Polyline(((x, bottom), (x, bottom + 4)), _RULE, 1.0)
        yield Text(x, bottom + 17, name, 11, _MUTED, "middle")
    yield Text(frame.left + frame.width / 2, bottom + 34, "step", 11, _MUTED, "middle")


def _marks(frame: _Frame, plot: Plot) -> Iterator[Shape]:
    for mark in plot.marks:
        if mark.important and plot.span.low <= mark.step <= plot.span.high:
            x, _ = frame.at(mark.step, 0)
            yield Polyline(((x, frame.top), (x, frame.top + frame.height)), _RULE, 0.8, dash=(2, 3))
            yield Text(x, frame.top - 4, mark.name, 9, _MUTED, "middle")


def _line(frame: _Frame, drawn: Drawn, plot: Plot) -> Iterator[Shape]:
    line, curve = drawn.line, drawn.line.curve
    colour = EVAL_COLOUR if line.style else COLOURS[line.slot]
    smooth = line.window > 1 and not line.points
    if smooth and line.band:
        yield from _values(frame, drawn, plot, colour)
    if smooth:
        points = [
            (curve.steps[column.middle], curve.smoothed(column.middle, line.window))
            for column in drawn.columns
        ]
    else:
        points = list(_every_extreme(drawn))
    path = tuple(frame.at(step, scaled(value, plot)) for step, value in points)
    yield Polyline(path, colour, 1.8, dash=() if line.style else _DASHES[line.slot])
    if line.sign:
        apart = -(-len(path) // (_MOST_POINTS if line.points else _SIGNS_A_LINE))
        first = 0 if line.points else apart // 2 + line.slot * apart // 5
        for x, y in path[first::apart]:
            yield Marker(x, y, "ring" if line.style else _SIGNS[line.slot], colour)


def _every_extreme(drawn: Drawn) -> Iterator[tuple[int, float]]:
    """The values of a line that is not smoothed: where many share a column, its lowest and its
    highest."""
    curve = drawn.line.curve
    for column, (low, high) in zip(drawn.columns, drawn.extremes, strict=True):
        step = curve.steps[column.middle]
        if low == high:
            yield step, low
        else:
            yield from ((step, low), (step, high))


def _values(frame: _Frame, drawn: Drawn, plot: Plot, colour: str) -> Iterator[Shape]:
    """The values behind a smoothed line: as a line, or as the area that they fill where there are
    many."""
    curve = drawn.line.curve
    steps = [curve.steps[column.middle] for column in drawn.columns]
    if all(column.end - column.start == 1 for column in drawn.columns):
        points = [
            frame.at(step, scaled(low, plot))
            for step, (low, _) in zip(steps, drawn.extremes, strict=True)
        ]
        yield Polyline(tuple(points), colour, 1.0, opacity=0.3)
        return
    lows = [
        frame.at(step, scaled(low, plot))
        for step, (low, _) in zip(steps, drawn.extremes, strict=True)
    ]
    highs = [
        frame.at(step, scaled(high, plot))
        for step, (_, high) in zip(steps, drawn.extremes, strict=True)
    ]
    yield Area((*lows, *reversed(highs)), colour, 0.22)
