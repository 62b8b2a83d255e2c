"""`luthier drift`: where a tuned model changed that nobody asked for."""

from __future__ import annotations

from pathlib import Path

import click
from rich.text import Text

from jobs.files import expanded
from jobs.job import Job
from models.runs import Run
from serve.drift import spill_map
from serve.drift.spill_map import Spill
from tui.commands.chapters import follow_chapter, print_chapter
from tui.commands.output import examples, json_option, out
from tui.completion.name_parameter import Name
from tui.shared.heat import STYLES, heat_of
from workshop.drift.launch import drift as start


@click.command(
    epilog=examples("luthier drift captain", "luthier drift captain --unit captain-seed-2 --map")
)
@click.argument("run", metavar="RUN", type=Name("run"))
@click.option(
    "--prompts",
    type=click.Path(path_type=Path),
    help="Also ask what is in this file: conversations (JSON Lines), or one prompt per line.",
)
@click.option(
    "--unit",
    metavar="RUN",
    type=Name("run"),
    help="A run of the same recipe with another seed: its distance is the unit of chance.",
)
@click.option(
    "--map", "with_map", is_flag=True, help="Also print every prompt with its tokens, sorted."
)
@click.option("--detach", is_flag=True, help="Do not wait: the job keeps running by itself.")
@json_option
def drift(
    run: str,
    prompts: Path | None,
    unit: str | None,
    with_map: bool,
    detach: bool,
    as_json: bool,
) -> None:
    """Measure how far a tuned model moved from its base on prompts that have nothing to do with its
    data, sorted by topic.

    The result is a chapter of the run's certificate. Exit status: 0 for a green or amber one, 1 for
    a red one.
    """
    of_run = Run.named(run)
    file = None if prompts is None else expanded(str(prompts))
    job = start(of_run, file, None if unit is None else Run.named(unit))
    follow_chapter(job, f"Measuring where {of_run.name} drifted", detach=detach, as_json=as_json)
    if detach:
        return
    if with_map and not as_json:
        _print_map(job)
    print_chapter(of_run, "drift", as_json=as_json)


def _print_map(job: Job) -> None:
    for spill in spill_map.read(job.directory):
        out.print(
            Text.assemble(
                (f"{spill.divergence:6.2f}  ", "bold"), (f"{spill.topic:<12} ", "dim"), spill.prompt
            )
        )
        out.print(_heat_line(spill))
    out.print("")


def _heat_line(spill: Spill) -> Text:
    pieces = [(piece, STYLES[heat_of(shift)]) for piece, shift in spill.pieces]
    return Text.assemble("        ", *pieces)
