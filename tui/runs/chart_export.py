"""Charts as files: every value as CSV, or figures as SVG and PNG. The ending of the name says
which."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from jobs.luthier_error import LuthierError
from tui.runs.charts.paper import Entry, Panel, figure
from tui.runs.charts.svg import svg
from tui.runs.charts.view import View
from tui.runs.plots import plot_of
from workshop.runs.chart_metrics import COLUMNS, EVAL_LOSS, LOSS, Metric
from workshop.runs.curve import Curve
from workshop.runs.record import RunRecord
from workshop.runs.track import Track, names

FORMATS = (".csv", ".svg", ".png")


def export(path: Path, tracks: Sequence[Track], metrics: Sequence[Metric], view: View) -> None:
    """Write the file. Figures show the view's stretch of these metrics; CSV has every value of
    every step. LuthierError if it cannot be."""
    ending = path.suffix.lower()
    if ending not in FORMATS:
        raise LuthierError(
            "Unknown kind of file",
            f"{path.name} does not end in one of {', '.join(FORMATS)}.",
            "The ending chooses the format.",
        )
    if not any(track.record.has_points for track in tracks):
        alive = any(track.alive for track in tracks)
        raise LuthierError(
            f"Nothing to draw{' yet' if alive else ''}",
            "The run has taken no step.",
            "Its first step draws the first point."
            if alive
            else "`luthier log` shows how it ended.",
        )
    try:
        if ending == ".csv":
            path.write_text(table(tracks), encoding="utf-8", newline="")
        elif ending == ".svg":
            path.write_text(svg(figure(*_parts(tracks, metrics, view))), encoding="utf-8")
        else:
            from tui.runs.charts.png import png

            path.write_bytes(png(figure(*_parts(tracks, metrics, view))))
    except OSError as error:
        raise LuthierError(
            "It was not written", f"{path}: {error.strerror or error}.", "Choose another place."
        ) from error


def _parts(
    tracks: Sequence[Track], metrics: Sequence[Metric], view: View
) -> tuple[list[Panel], list[Entry]]:
    panels = [Panel(metric.title, plot_of(tracks, metric, view, None)) for metric in metrics]
    entries = [
        Entry(name, track.slot) for track, name in zip(tracks, names(list(tracks)), strict=True)
    ]
    if len(tracks) == 1 and LOSS in metrics and tracks[0].record.curves.get(EVAL_LOSS.key):
        entries.append(Entry("evaluations", evaluations=True))
    return panels, entries


def view_of(tracks: Sequence[Track], logarithmic: bool, window: int) -> View:
    """All of the runs."""
    last = max(track.record.step for track in tracks)
    return replace(View().grown(last, last), logarithmic=logarithmic, window=window)


def table(tracks: Sequence[Track]) -> str:
    """One line a step of each run, times in unix seconds; a figure that was not measured at a step
    is left empty."""
    tasks = sorted({key for track in tracks for key in track.record.curves if key not in COLUMNS})
    buffer = io.StringIO()
    writer = csv.writer(buffer)
    writer.writerow(["run", "step", "time", *COLUMNS, *tasks])
    for track in tracks:
        for row in _rows(track.record, [*COLUMNS, *tasks]):
            writer.writerow([track.job.id, *row])
    return buffer.getvalue()


def _rows(record: RunRecord, keys: Sequence[str]) -> Iterator[list[str]]:
    curves = [record.times, *(record.curves.get(key, Curve()) for key in keys)]
    places = [0] * len(curves)
    for step in sorted({step for curve in curves for step in curve.steps}):
        row = [str(step)]
        for number, curve in enumerate(curves):
            here = places[number]
            measured = here < len(curve) and curve.steps[here] == step
            row.append(_exact(curve.values[here]) if measured else "")
            places[number] += measured
        yield row


def _exact(value: float) -> str:
    return str(int(value)) if value == int(value) and abs(value) < 1e15 else repr(value)
