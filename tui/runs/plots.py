"""What is drawn of one run, or of several over each other, and what is read at a step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from textual.content import Content

from tui.runs.charts.picture import Line, Plot
from tui.runs.charts.view import View
from tui.runs.colours import track_colour, track_sign
from tui.runs.moment_marks import marks, sign
from tui.shared.glyphs import glyphs
from workshop import number_format
from workshop.runs.chart_metrics import EVAL_LOSS, LOSS, Metric
from workshop.runs.curve import Curve
from workshop.runs.moments import Moment
from workshop.runs.record import RunRecord
from workshop.runs.ticks import exact
from workshop.runs.track import Track, names

_GAP = "   "
_DETAILS = (
    (True, True, True),
    (False, True, True),
    (False, False, True),
    (False, False, False),
)
"""Whether a readout has the epoch, smoothed values, and words for what happened: the first row that
fits is drawn."""
_EVALUATIONS = "$secondary"  # the colour of their line


def plot_of(
    tracks: Sequence[Track], metric: Metric, view: View, cursor: int | None, small: bool = False
) -> Plot:
    """Several runs have only their smoothed lines, each with its sign; one run has its values, and
    its evaluations on its loss."""
    many = len(tracks) > 1
    lines = []
    for track in tracks:
        curve = track.record.curves.get(metric.key)
        if curve:
            sign_of_points = glyphs().eval_point if metric.points else ""
            sign_ = track_sign(track) if many else sign_of_points
            window = view.window if metric.smooth else 1
            lines.append(
                Line(
                    curve,
                    track.slot,
                    window,
                    band=not many,
                    points=metric.points,
                    sign="" if small else sign_,
                )
            )
        evaluations = track.record.curves.get(EVAL_LOSS.key)
        if metric is LOSS and not many and evaluations:
            lines.append(
                Line(
                    evaluations,
                    points=True,
                    style="eval",
                    sign="" if small else glyphs().eval_point,
                )
            )
    return Plot(
        lines,
        view.span,
        metric.unit,
        logarithmic=view.logarithmic,
        from_zero=metric.from_zero,
        marks=()
        if small
        else marks([moment for track in tracks for moment in track.record.moments]),
        cursor=cursor,
        axes=not small,
    )


def readout(
    tracks: Sequence[Track], metric: Metric, view: View, step: int | None, width: int = 1000
) -> Content:
    """What is known of the runs at a step, or, without one, at the last step of each that the view
    shows."""
    at = _last_seen(tracks[0].record, metric, view) if step is None else step
    for epoch, smoothed, words in _DETAILS:
        parts = [Content.assemble(("step ", "$foreground-muted"), (f"{at:,}", "bold"))]
        epoch_figure = tracks[0].record.figure("epoch", at)
        if epoch and epoch_figure is not None:
            parts.append(_pair("epoch", f"{epoch_figure:.4g}"))
        window = view.window if metric.smooth and smoothed else 1
        parts += (
            _values(tracks[0].record, metric, window, at, words)
            if len(tracks) == 1
            else _of_each(tracks, metric, replace(view, window=window), step, at)
        )
        content = Content(_GAP).join(parts)
        if content.cell_length <= width:
            break
    return content


def _last_seen(record: RunRecord, metric: Metric, view: View) -> int:
    """The last step of a run that the view shows."""
    curve = record.curves.get(metric.key)
    if record.step <= view.span.high or not curve:
        return record.step
    return curve.last_step(view.span.high) or 0


def _values(record: RunRecord, metric: Metric, window: int, at: int, words: bool) -> list[Content]:
    """The exact value of the step, the smoothed one, the evaluation that was last then with the
    sign of its line, and what happened: in words, or only its signs."""
    curve = record.curves.get(metric.key)
    parts = []
    if curve:
        exactly = curve.value_at(at)
        parts += [_pair(metric.title, metric.exact(exactly))] if exactly is not None else []
        if window > 1:
            parts.append(_pair("smoothed", metric.exact(curve.smoothed(curve.nearest(at), window))))
        if metric.points and exactly is None:
            parts.append(_last_value(metric, curve, at))
    evaluations = record.curves.get(EVAL_LOSS.key)
    if metric is LOSS and evaluations and evaluations.steps[0] <= at:
        sign_of_line = Content.styled(f"{glyphs().eval_point} ", _EVALUATIONS)
        parts.append(sign_of_line + _last_value(EVAL_LOSS, evaluations, at))
    happened = [
        moment
        for moment in record.moments
        if moment.step == at and moment.on_chart and moment.kind != "eval"
    ]
    if not words:
        return [*parts, *(Content.styled(*sign(moment)) for moment in happened)]
    # why a checkpoint was made stands on the timeline
    reasons_out = [
        replace(moment, detail="") if moment.kind == "checkpoint" else moment for moment in happened
    ]
    return [*parts, *map(moment_content, reasons_out)]


def _of_each(
    tracks: Sequence[Track], metric: Metric, view: View, step: int | None, named_step: int
) -> list[Content]:
    """Each run's last value up to the step, the smoothed one in brackets. Without a step it is the
    last one that the view shows, and its step is given unless it is the one that the readout has
    named already."""
    parts = []
    for track, name in zip(tracks, names(list(tracks)), strict=True):
        curve = track.record.curves.get(metric.key) or Curve()
        at = curve.last_step(view.span.high) if step is None else step
        value = smoothed = where = ""
        if at is not None and curve and curve.steps[0] <= at <= curve.steps[-1]:
            value = metric.exact(curve.value_before(at))
            if view.window > 1:
                smoothed = f" ({metric.exact(curve.smoothed(curve.nearest(at), view.window))})"
            if step is None and at != named_step:
                where = f" at {at:,}"
        parts.append(
            Content.assemble(
                (f"{track_sign(track)} ", track_colour(track)),
                (f"{name} ", "$foreground-muted"),
                value or "-",
                (f"{smoothed}{where}", "$foreground-muted"),
            )
        )
    return parts


def _last_value(metric: Metric, curve: Curve, at: int) -> Content:
    value = curve.value_before(at)
    if value is None:
        return Content("")
    last_step = curve.last_step(at)
    where = "" if last_step is None or last_step == at else f" at {last_step:,}"
    return Content.assemble(_pair(metric.title, metric.exact(value)), (where, "$foreground-muted"))


def moment_content(moment: Moment) -> Content:
    """What happened, with its sign."""
    glyph, colour = sign(moment)
    detail = f", {moment.detail}" if moment.detail else ""
    return Content.assemble((f"{glyph} ", colour), moment.title, (detail, "$foreground-muted"))


def latest(tracks: Sequence[Track], metric: Metric, step: float) -> str:
    """The figure beside a small chart: the first run's last value up to a step."""
    curve = tracks[0].record.curves.get(metric.key)
    value = curve.value_before(step) if curve else None
    if value is None:
        return ""
    if metric.key in ("loss", "eval_loss"):
        return number_format.loss(value)
    return (
        number_format.rate(value) if metric.key == "learning_rate" else exact_short(metric, value)
    )


def nothing_drawn(tracks: Sequence[Track], metric: Metric) -> str:
    """What stands in a chart of these runs that has no point."""
    if any(track.record.curves.get(metric.key) for track in tracks):
        return "none in these steps"
    return "none yet" if any(track.alive for track in tracks) else "not measured"


def exact_short(metric: Metric, value: float) -> str:
    if metric.unit == "bytes":
        return number_format.size(value)
    if metric.unit == "count":
        return number_format.count(value)
    return f"{value:.3g}" if abs(value) < 100 else exact(value)


def _pair(name: str, value: str) -> Content:
    return Content.assemble((f"{name} ", "$foreground-muted"), value)
