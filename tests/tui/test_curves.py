"""Curves, ticks, views and pictures: everything of a chart that needs no terminal."""

from __future__ import annotations

import math
import random
from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tui.runs.charts.picture import Line, Mark, Picture, Plot, draw
from tui.runs.charts.view import View
from tui.shared.glyphs import use_ascii
from workshop.runs import ticks
from workshop.runs.chart_metrics import default_smoothing
from workshop.runs.curve import Curve, Span, columns


def curve_of(values: list[float], first: int = 1) -> Curve:
    curve = Curve()
    curve.extend(list(range(first, first + len(values))), values)
    return curve


def text_of(picture: Picture) -> list[str]:
    return ["".join(cell.text for cell in row) for row in picture.rows]


# Curves


@given(st.integers(1, 900), st.data())
def test_extremes_and_means_are_those_of_the_points(count: int, data: st.DataObject) -> None:
    values = [math.sin(index * 7.3) * (1 + index % 17) for index in range(count)]
    curve = Curve()
    for start in range(0, count, 37):  # grown bit by bit, as a run grows
        curve.extend(list(range(start, min(count, start + 37))), values[start : start + 37])
    start = data.draw(st.integers(0, count - 1))
    end = data.draw(st.integers(start + 1, count))
    assert curve.extremes(start, end) == (min(values[start:end]), max(values[start:end]))
    assert curve.mean(start, end) == pytest.approx(sum(values[start:end]) / (end - start))


@given(st.integers(1, 600), st.integers(0, 600), st.integers(1, 300))
def test_a_cut_curve_grows_on_as_if_it_had_never_been_longer(
    count: int, kept: int, more: int
) -> None:
    curve, fresh = curve_of([float(index % 91) for index in range(count)]), Curve()
    curve.cut(kept)
    left = min(count, kept)
    fresh.extend(list(range(1, left + 1)), [float(index % 91) for index in range(left)])
    for one in (curve, fresh):
        one.extend(
            list(range(left + 1, left + 1 + more)), [float(-index % 53) for index in range(more)]
        )
    assert curve.steps == fresh.steps and curve.values == fresh.values
    assert curve.extremes(0, len(curve)) == fresh.extremes(0, len(fresh))
    assert curve.mean(0, len(curve)) == pytest.approx(fresh.mean(0, len(fresh)))


def test_a_step_told_again_replaces_what_came_after_it() -> None:
    curve = curve_of([1.0, 2.0, 3.0, 4.0])
    curve.append(3, 9.0)
    assert list(curve.steps) == [1, 2, 3] and list(curve.values) == [1.0, 2.0, 9.0]


def test_what_is_no_finite_number_is_left_out() -> None:
    curve = Curve()
    curve.extend([1, 2, 3, 4], [1.0, math.nan, math.inf, 4.0])
    assert (
        list(curve.steps) == [1, 4] and curve.value_at(2) is None and curve.value_before(3) == 1.0
    )


def test_the_smoothed_line_neither_lags_nor_bends() -> None:
    curve = curve_of([2.0 * index for index in range(100)])
    assert all(
        curve.smoothed(index, 20) == pytest.approx(2.0 * index, abs=1e-9) for index in range(100)
    )


def test_the_smoothed_end_does_not_hang_on_the_last_value() -> None:
    curve = curve_of([1.0] * 100 + [5.0])
    assert curve.smoothed(100, 40) < 2.0


def test_smoothing_counts_steps_and_not_points() -> None:
    """A run that tells every tenth step has the same line as one that tells them all."""
    every, tenth = curve_of([math.sin(step / 50) for step in range(1, 1001)]), Curve()
    tenth.extend(list(range(1, 1001, 10)), [math.sin(step / 50) for step in range(1, 1001, 10)])
    assert tenth.smoothed(tenth.nearest(501), 100) == pytest.approx(
        every.smoothed(every.nearest(501), 100), abs=0.03
    )


def test_a_hundred_thousand_points_keep_their_peaks_in_a_few_columns() -> None:
    values = [1.0 + 0.1 * math.sin(step) for step in range(100_000)]
    values[54_321], values[70_003] = 9.0, -4.0
    curve = curve_of(values, first=0)
    found = columns(curve, Span(0, 100_000), 160)
    assert len(found) == 160 and [column.start for column in found[1:]] == [
        column.end for column in found[:-1]
    ]
    extremes = [curve.extremes(column.start, column.end) for column in found]
    assert max(high for _, high in extremes) == 9.0 and min(low for low, _ in extremes) == -4.0


def test_few_points_stand_in_their_own_columns() -> None:
    curve = Curve()
    curve.extend([0, 50, 100], [1.0, 2.0, 3.0])
    assert [column.number for column in columns(curve, Span(0, 100), 101)] == [0, 50, 100]
    assert columns(curve, Span(10, 40), 20) == []


@pytest.mark.parametrize(
    ("step", "nearest"), [(-5, 0), (1, 0), (14, 0), (16, 1), (25, 1), (26, 2), (900, 2)]
)
def test_the_cursor_finds_the_nearest_point(step: float, nearest: int) -> None:
    curve = Curve()
    curve.extend([10, 20, 30], [1.0, 2.0, 3.0])
    assert curve.nearest(step) == nearest


# Ticks


@given(st.floats(-1e6, 1e6), st.floats(1e-6, 1e6), st.integers(1, 12))
@example(1.0, 800001.0, 1)
def test_ticks_are_round_few_and_inside(low: float, width: float, most: int) -> None:
    span = Span(low, low + width)
    found = ticks.linear_ticks(span, most)
    assert 2 <= len(found) <= max(most + 1, 5)
    room = 1e-6 * max(abs(span.low), abs(span.high), 1)
    assert all(span.low - room <= tick <= span.high + room for tick in found)
    step = ticks.nice_step(width, most)
    mantissa = step / 10 ** math.floor(math.log10(step * (1 + 1e-9)))
    assert min(abs(mantissa - nice) for nice in (1, 2, 5, 10)) < 1e-6


@given(st.floats(1e-8, 1e6), st.floats(1.01, 1e6), st.integers(2, 8))
def test_logarithmic_ticks_are_inside_and_rising(low: float, factor: float, most: int) -> None:
    found = ticks.log_ticks(Span(low, low * factor), most)
    assert all(low * (1 - 1e-6) <= tick <= low * factor * (1 + 1e-6) for tick in found)
    assert all(before < after for before, after in pairwise(found))


@pytest.mark.parametrize(
    ("values", "unit", "shown"),
    [
        ([0, 0.5, 1.0], "plain", ["0", "0.5", "1.0"]),
        ([0, 5e-5, 1e-4], "plain", ["0", "5e-5", "1e-4"]),
        ([0, 20_000, 40_000], "count", ["0", "20k", "40k"]),
        ([0, 500, 1000], "count", ["0", "500", "1000"]),
        ([500_000, 1_000_000], "count", ["0.5M", "1.0M"]),
        ([0, 5e9, 1e10], "bytes", ["0", "5 GB", "10 GB"]),
        ([1.25, 1.3], "plain", ["1.25", "1.30"]),
    ],
)
def test_labels_share_a_unit_and_tell_neighbours_apart(
    values: list[float], unit: ticks.Unit, shown: list[str]
) -> None:
    assert ticks.labels(values, unit) == shown


def test_exact_values_have_six_figures_and_a_steady_width() -> None:
    assert [ticks.exact(value) for value in (0.9, 1.234567891, 12.5, 2e-4, 3)] == [
        "0.900000",
        "1.23457",
        "12.5000",
        "2.000e-4",
        "3",
    ]
    assert (
        ticks.exact(1_234_567_890, "bytes") == "1.235 GB"
        and ticks.exact(12_345.6, "count") == "12,346"
    )


# What is looked at


def test_zoom_keeps_its_place_and_stays_inside() -> None:
    view = View().grown(1000, 800).zoom(0.5, 400)
    assert view.span == Span(200, 700) and not view.follows
    assert view.zoom(0.1, 400).span.place(400) == pytest.approx(0.4)
    assert view.pan(-1).span == Span(0, 500) and view.pan(9).span.high <= 1000
    assert not view.zoom(4, 400).zoomed
    assert view.zoom(1e-9, 400).span.width == 10


def test_a_stretch_at_the_end_goes_on_with_the_run() -> None:
    view = View().grown(1000, 800).looking_at(Span(700, 820))
    assert view.follows and view.span == Span(700, 820)
    assert view.grown(1000, 850).span == Span(750, 870)
    assert (
        not view.pan(-0.5).follows and view.pan(-0.5).grown(1000, 900).span == view.pan(-0.5).span
    )


def test_a_view_moves_just_as_far_as_the_cursor_needs() -> None:
    view = View().grown(1000, 1000).looking_at(Span(200, 300))
    assert (
        view.showing(250) == view
        and view.showing(150).span == Span(150, 250)
        and view.showing(340).span == Span(240, 340)
    )


def test_the_usual_smoothing_grows_with_the_run() -> None:
    assert [default_smoothing(steps) for steps in (30, 300, 800, 100_000)] == [1, 5, 20, 2000]


# Pictures


def test_a_single_peak_among_a_hundred_thousand_is_seen() -> None:
    values = [1.0] * 100_000
    values[50_000] = 2.0
    picture = draw(Plot([Line(curve_of(values))], Span(0, 100_000)), 100, 20)
    column = picture.left + picture.columns // 2
    assert any(row[column + near].text != " " for row in picture.rows[:3] for near in (-1, 0, 1))


def test_a_wild_value_leaves_the_picture_with_a_sign_that_says_so() -> None:
    values = [1.0 + 0.1 * math.sin(step) for step in range(1000)]
    values[500] = 1e6
    picture = draw(Plot([Line(curve_of(values))], Span(0, 1000)), 100, 20)
    assert "↑" in text_of(picture)[0]
    assert "1.10 ┤" in "\n".join(text_of(picture))


def test_axes_have_round_figures_on_a_linear_and_a_logarithmic_scale() -> None:
    curve = curve_of([10.0 ** (3 - step / 100) for step in range(500)])
    linear = text_of(draw(Plot([Line(curve)], Span(0, 500)), 80, 20))
    assert any("1000 ┤" in line for line in linear) and linear[-1].split() == [
        "0",
        "100",
        "200",
        "300",
        "400",
        "500",
    ]
    logarithmic = text_of(draw(Plot([Line(curve)], Span(0, 500), logarithmic=True), 80, 20))
    for label in ("0.1 ┤", "10 ┤", "1000 ┤"):
        assert any(label in line for line in logarithmic)


def test_values_that_have_no_logarithm_are_left_out() -> None:
    curve = curve_of([0.0, -1.0, 0.5, 1.0])
    assert draw(Plot([Line(curve)], Span(0, 4), logarithmic=True), 60, 10).rows
    assert (
        draw(Plot([Line(curve_of([0.0, -1.0]))], Span(0, 4), logarithmic=True), 60, 10).rows == []
    )


def test_marks_stand_on_the_axis_and_important_ones_cross_the_picture() -> None:
    plot = Plot(
        [Line(curve_of([1.0] * 100))],
        Span(0, 100),
        marks=[Mark(50, "▲"), Mark(75, "▼", important=True), Mark(500, "X")],
    )
    picture = draw(plot, 106, 12)
    foot = text_of(picture)[-2]
    assert foot[picture.left + 50] == "▲" and foot[picture.left + 75] == "▼" and "X" not in foot
    assert sum(row[picture.left + 75].text == "┊" for row in picture.rows) > 5
    assert not any(row[picture.left + 50].text == "┊" for row in picture.rows)


def test_many_evaluations_leave_the_line_to_be_seen() -> None:
    few, many = curve_of([1.0] * 8), curve_of([1.0] * 90)
    for curve, signs in ((few, 8), (many, 17)):
        plot = Plot(
            [Line(curve, points=True, sign="o")],
            Span(0, len(curve)),
            marks=[Mark(step, "e", minor=True) for step in curve.steps],
        )
        text = text_of(draw(plot, 106, 12))
        assert sum(line.count("o") for line in text[:-2]) == signs and text[-2].count("e") == (
            8 if curve is few else 0
        )


def test_the_cursor_is_a_column_and_a_cell_knows_its_step() -> None:
    picture = draw(Plot([Line(curve_of([1.0] * 100))], Span(0, 100), cursor=40), 106, 12)
    under = {number for row in picture.rows for number, cell in enumerate(row) if cell.under_cursor}
    assert under == {picture.left + 40}
    assert picture.step_at(picture.left + 40) == 40.5 and picture.step_at(0) is None


def test_without_unicode_there_are_only_ascii_signs() -> None:
    use_ascii(True)
    try:
        marks = [Mark(50, "A", important=True)]
        picture = draw(
            Plot(
                [Line(curve_of([random.random() for _ in range(300)]), window=20)],
                Span(0, 300),
                marks=marks,
            ),
            80,
            16,
        )
    finally:
        use_ascii(False)
    assert all(line.isascii() for line in text_of(picture)) and any(
        "*" in line for line in text_of(picture)
    )


@pytest.mark.parametrize(("width", "height"), [(10, 10), (40, 3), (0, 0)])
def test_where_there_is_no_room_nothing_is_drawn(width: int, height: int) -> None:
    assert draw(Plot([Line(curve_of([1.0, 2.0]))], Span(0, 2)), width, height).rows == []


@given(
    st.lists(st.floats(-1e12, 1e12), min_size=1, max_size=50),
    st.integers(20, 120),
    st.integers(5, 30),
    st.booleans(),
)
def test_any_values_can_be_drawn_and_fill_the_size(
    values: list[float], width: int, height: int, logarithmic: bool
) -> None:
    picture = draw(
        Plot(
            [Line(curve_of(values), window=5)],
            Span(0, len(values)),
            logarithmic=logarithmic,
            cursor=1,
        ),
        width,
        height,
    )
    assert {len(row) for row in picture.rows} <= {width} and len(picture.rows) in (0, height)
