"""`luthier chart`: a run's charts in the terminal, or as a file."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import click
from rich.text import Text

from jobs import job as jobs
from jobs.luthier_error import LuthierError
from jobs.near import did_you_mean
from tui.commands.output import examples, json_option, out, print_json, talk
from tui.completion.name_parameter import Name, Words
from tui.runs.chart_export import FORMATS, export, view_of
from tui.runs.charts.picture import draw
from tui.runs.charts.view import View
from tui.runs.colours import MOST_RUNS
from tui.runs.plots import nothing_drawn, plot_of, readout
from workshop.runs.chart_metrics import METRICS, Metric, default_smoothing
from workshop.runs.events import RunReader
from workshop.runs.track import Track

_HEIGHT = 18


@click.command(epilog=examples("luthier chart captain", "luthier chart captain parrot"))
@click.argument("runs", metavar="RUN...", nargs=-1, required=True, type=Name("run"))
@click.option(
    "--out",
    "path",
    type=click.Path(path_type=Path),
    help=f"Write a file: {', '.join(FORMATS)}. CSV contains every value of every step.",
)
@click.option(
    "--metric",
    "names",
    multiple=True,
    type=Words("all", *(metric.key for metric in METRICS)),
    help="loss (the default), eval_loss, learning_rate, ... or all. Repeat the option for several.",
)
@click.option("--log", "logarithmic", is_flag=True, help="A logarithmic scale.")
@click.option(
    "--smooth",
    type=click.IntRange(min=1),
    help="Smoothing window in steps (1 = off). Default: depends on the run's length.",
)
@json_option
def chart(
    runs: tuple[str, ...],
    path: Path | None,
    names: tuple[str, ...],
    logarithmic: bool,
    smooth: int | None,
    as_json: bool,
) -> None:
    """Draw the charts of a run, or of up to four runs over each other."""
    tracks = read_tracks(runs)
    metrics = metrics_to_show(tracks[0], names)
    view = view_of(tracks, logarithmic, smooth or 1)
    view = replace(view, window=smooth or default_smoothing(int(view.end)))
    if path is not None:
        export(path, tracks, metrics, view)
        if as_json:
            print_json(
                {
                    "file": str(path.absolute()),
                    "runs": [track.job.id for track in tracks],
                    "metrics": [metric.key for metric in metrics],
                }
            )
        else:
            talk.print(f"Wrote {path}.")
    elif as_json:
        print_json([_as_json(track, metrics) for track in tracks])
    else:
        for metric in metrics:
            _print(tracks, metric, view)


def read_tracks(runs: tuple[str, ...]) -> list[Track]:
    """The runs with all their events."""
    if len(runs) > MOST_RUNS:
        raise LuthierError(
            "Too many runs",
            f"Luthier can draw at most {MOST_RUNS} runs over each other.",
            "Name fewer.",
        )
    tracks = []
    for slot, name in enumerate(runs):
        job = jobs.find(name, "run")
        reader = RunReader(job.events_path)
        while reader.read():
            pass
        tracks.append(Track(job, slot, reader, 1.0, job.alive()))
    return tracks


def metrics_to_show(track: Track, names: tuple[str, ...]) -> list[Metric]:
    by_key = {metric.key: metric for metric in track.record.metrics()}
    if "all" in names:
        return [metric for key, metric in by_key.items() if track.record.curves.get(key)]
    unknown = [name for name in names if name not in by_key]
    if unknown:
        raise LuthierError(
            "No such metric",
            f"The run did not measure {unknown[0]}.",
            f"{did_you_mean(unknown[0], by_key)}There are {', '.join(by_key)}.",
        )
    return [by_key[name] for name in names] or [METRICS[0]]


def _as_json(track: Track, metrics: list[Metric]) -> dict[str, object]:
    curves = {metric.key: track.record.curves.get(metric.key) for metric in metrics}
    points = {
        key: list(zip(curve.steps, curve.values, strict=True))
        for key, curve in curves.items()
        if curve
    }
    return {"run": track.job.id, "metrics": points}


_STYLES = {
    "run-0": "yellow",
    "run-1": "blue",
    "run-2": "green",
    "run-3": "red",
    "eval": "bold blue",
    "kept": "green",
    "warned": "bold yellow",
}


def _print(tracks: list[Track], metric: Metric, view: View) -> None:
    """The picture of the screen, as wide as the terminal."""
    width = min(120, shutil.get_terminal_size().columns)
    picture = draw(plot_of(tracks, metric, view, None), width, _HEIGHT)
    title = f"{metric.title}   "
    heading = title + readout(tracks, metric, view, None, width - len(title)).plain
    out.print(Text(heading, "bold"), no_wrap=True, overflow="ellipsis")
    if not picture.rows:
        talk.print(f"{metric.title}: {nothing_drawn(tracks, metric)}.")
    for row in picture.rows:
        line = Text(no_wrap=True)
        for cell in row:
            line.append(cell.text, _STYLES.get(cell.style, "dim" if cell.style != "plain" else ""))
        out.print(line)
    out.print()
