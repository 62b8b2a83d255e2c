"""`luthier certify`."""

from __future__ import annotations

import sys
from pathlib import Path

import click
from rich.table import Table
from rich.text import Text

from jobs.counting import counted
from jobs.job import find
from jobs.luthier_error import LuthierError
from models import certificate, chapters
from models.certificate import Certificate
from models.runs import Run
from models.standing import Standing, of_certificate, standing
from tui.commands import shipped as shipped_chapter
from tui.commands.chapters import show as show_chapter
from tui.commands.chapters import to_json
from tui.commands.output import (
    examples,
    json_option,
    out,
    plain_table,
    print_json,
    say_aside,
    styled,
    talk,
)
from tui.commands.progress import follow_to_end
from tui.commands.verdicts import COLOURS, figure_table
from tui.completion.name_parameter import Name
from tui.shared.certificate_badge import sign
from workshop.number_format import age, duration


@click.command(
    epilog=examples(
        "luthier certify captain",
        "luthier certify captain --show",
        "luthier certify captain --shipped captain.gguf",
        "luthier certify captain --shipped http://localhost:8000/v1 --model captain",
    )
)
@click.argument("run", metavar="RUN", type=Name("run"))
@click.option(
    "--shipped",
    metavar="PATH|URL",
    type=click.Path(),
    help="Certify what is shipped of the run: a GGUF file, a model's folder, or a running server.",
)
@click.option("--model", default="", metavar="NAME", help="With a server: the model to ask.")
@click.option(
    "--key-env", default="", metavar="NAME", help="With a server: the variable that holds its key."
)
@click.option(
    "--key-file",
    default="",
    type=click.Path(dir_okay=False),
    help="With a server: the file that holds its key.",
)
@click.option("--show", is_flag=True, help="Show the existing certificate; measure nothing.")
@json_option
def certify(
    run: str,
    shipped: str | None,
    model: str,
    key_env: str,
    key_file: str,
    show: bool,
    as_json: bool,
) -> None:
    """Prove that the trained, merged and served models of a run are the same, or with --shipped
    that what you ship is what was trained. Takes a minute or two on a CPU.

    --show also prints the further chapters: what is shipped, what the model forgets and recites,
    where it drifted. Exit status: 0 for a green or amber result, 1 for a red one.
    """
    if shipped is not None:
        shipped_chapter.certify(
            Run(find(run, "run")), shipped, (model, key_env, key_file), show, as_json
        )
        return
    if model or key_env or key_file:
        raise LuthierError(
            "Nothing to ask",
            "--model, --key-env and --key-file are for a server.",
            "Name the server: --shipped http://localhost:8000/v1",
        )
    job = find(run, "run")
    if not show:
        _make(Run(job))
    written = certificate.read(job.directory)
    further = chapters.read_all(job.directory) if show else []
    if written is None and not further:
        raise _none_yet(Run(job))
    touched = [] if written is None else certificate.touched_since(written.files)
    if as_json:
        print_json(
            {
                **({} if written is None else written.to_json()),
                "changed_since": touched,
                "chapters": [to_json(chapter) for chapter in further],
            }
        )
    else:
        if written is not None:
            _print(written, of_certificate(job.directory), touched)
        for number, chapter in enumerate(further):
            if number or written is not None:
                out.print("")
            show_chapter(chapter)
    verdicts = [
        *([] if written is None else [written.verdict]),
        *(chapter.verdict for chapter in further),
    ]
    if "red" in verdicts:
        sys.exit(1)


def say_if_red(directories: dict[str, Path]) -> None:
    """Before a model is served or talked to: a red certificate is said first. `directories` are run
    folders by the model's name."""
    for name, directory in directories.items():
        now = standing(directory)
        if now.verdict == "red":
            talk.print(
                styled(
                    "[red]✗ $name has a red certificate:[/] $reason",
                    name=name,
                    reason=now.reason,
                )
            )
            say_aside(f"  luthier certify {directory.name} --show")


def _none_yet(run: Run) -> LuthierError:
    from serve.certificate.launch import living_job

    maker = living_job(run)
    if maker is not None:
        return LuthierError(
            "The certificate is not ready yet",
            f"{maker.id} is making it.",
            f"`luthier log -f {maker.short_id}` follows it.",
        )
    return LuthierError(
        "No certificate",
        f"{run.id} has no certificate yet.",
        f"`luthier certify {run.job.short_id}` makes one.",
    )


def _make(run: Run) -> None:
    from serve.certificate.launch import certify as start

    job = start(run)
    follow_to_end(job, f"Certifying {run.name}")


def _print(written: Certificate, now: Standing, touched: list[str]) -> None:
    """`now` is what the certificate is worth today, as the app's lists say it."""
    glyph, _, word = sign(now)
    sample = written.sample
    colour = COLOURS[now.verdict or written.verdict]
    out.print(Text.assemble((f"{glyph} {word}", f"bold {colour}"), "  ", (written.run, "bold")))
    turns, tokens = counted(sample["turns"], "turn"), f"{sample['tokens']:,}"
    extent = f"{turns}, {tokens} tokens of {sample['file']}"
    out.print(
        f"made {age(written.made)} in {duration(written.seconds)} on {extent},"
        f" {written.versions.get('device', '')}\n",
        style="dim",
    )
    out.print(_models(written))
    out.print("")
    out.print(figure_table(written.checks))
    if now.outdated:
        files = ", ".join(touched[:4])
        out.print(
            styled(
                "\n[yellow]! outdated:[/] $why `luthier certify $run` makes a new one.",
                why=f"{files} changed since." if touched else now.reason,
                run=written.run,
            )
        )
    for fault in written.faults:
        glyph, _, _ = sign(Standing(fault.verdict))
        out.print(Text.assemble("\n", (glyph, COLOURS[fault.verdict]), f" {fault.sentence}"))


def _models(written: Certificate) -> Table:
    table = plain_table("model", "engine", ">mean NLL", ">tokens", ">ended by stop")
    for column in written.columns:
        stopped = "" if not column.answers else f"{column.stopped} of {column.answers}"
        table.add_row(
            column.model, column.engine, f"{column.nll:.4f}", f"{column.tokens:,}", stopped
        )
    return table
