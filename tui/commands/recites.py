"""`luthier recites`: what a tuned model has learnt by heart."""

from __future__ import annotations

from pathlib import Path

import click

from jobs.files import expanded
from models.runs import Run
from tui.commands.chapters import follow_chapter, print_chapter
from tui.commands.output import examples, json_option
from tui.completion.name_parameter import Name
from workshop.recites.launch import DEFAULT_ROWS
from workshop.recites.launch import recites as start


@click.command(
    epilog=examples("luthier recites captain", "luthier recites captain --canaries planted.txt")
)
@click.argument("run", metavar="RUN", type=Name("run"))
@click.option(
    "--rows",
    type=click.IntRange(1, 10_000),
    default=DEFAULT_ROWS,
    show_default=True,
    help="Ask for at most this many training answers.",
)
@click.option(
    "--canaries",
    type=click.Path(path_type=Path),
    help="A file of texts that were planted in the training answers, one per line.",
)
@click.option("--detach", is_flag=True, help="Do not wait: the job keeps running by itself.")
@json_option
def recites(run: str, rows: int, canaries: Path | None, detach: bool, as_json: bool) -> None:
    """Measure how much of its training data a tuned model completes word for word, where its base
    does not.

    The result is a chapter of the run's certificate. Exit status: 0 for a green or amber one, 1 for
    a red one.
    """
    of_run = Run.named(run)
    job = start(of_run, rows, None if canaries is None else expanded(str(canaries)))
    follow_chapter(job, f"Measuring what {of_run.name} recites", detach=detach, as_json=as_json)
    if not detach:
        print_chapter(of_run, "recites", as_json=as_json)
