"""`luthier certify`."""

from __future__ import annotations

import sys
from pathlib import Path

import click
from rich.table import Table
from rich.text import Text

from jobs.job import find
from jobs.luthier_error import LuthierError
from jobs.state import Done
from models import certificate
from models.certificate import Certificate
from models.runs import Run
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
from tui.commands.progress import follow_job
from tui.shared.certificate_badge import bound, figure, sign, thousands
from workshop.number_format import age, duration

_COLOURS = {"green": "green", "amber": "yellow", "red": "red"}


@click.command(epilog=examples("luthier certify captain", "luthier certify captain --show"))
@click.argument("run", metavar="RUN")
@click.option("--show", is_flag=True, help="Show the existing certificate; measure nothing.")
@json_option
def certify(run: str, show: bool, as_json: bool) -> None:
    """Prove that the trained, merged and served models of a run are the same. Takes a minute or two
    on a CPU.

    Exit status: 0 for a green or amber certificate, 1 for a red one.
    """
    job = find(run, "run")
    if not show:
        _make(Run(job))
    written = certificate.read(job.directory)
    if written is None:
        raise LuthierError(
            "No certificate",
            f"{job.id} has no certificate yet.",
            f"`luthier certify {job.id}` makes one.",
        )
    touched = certificate.touched_since(written)
    if as_json:
        print_json({**written.to_json(), "changed_since": touched})
    else:
        _print(written, touched)
    if written.verdict == "red":
        sys.exit(1)


def say_if_red(directories: dict[str, Path]) -> None:
    """Before a model is served or talked to: a red certificate is said first. `directories` are run
    folders by the model's name."""
    for name, directory in directories.items():
        standing = certificate.standing(directory)
        if standing.verdict == "red":
            talk.print(
                styled(
                    "[red]✗ $name has a red certificate:[/] $reason",
                    name=name,
                    reason=standing.reason,
                )
            )
            say_aside(f"  luthier certify {directory.name} --show")


def _make(run: Run) -> None:
    from serve.certificate.launch import certify as start

    job = start(run)
    try:
        follow_job(job, f"Certifying {run.name}", lambda state: isinstance(state, Done))
    except KeyboardInterrupt:
        talk.print(
            f"{job.id} keeps running. `luthier log -f {job.id}` follows it, `luthier stop"
            f" {job.id}` stops it."
        )
        raise


def _print(written: Certificate, touched: list[str]) -> None:
    standing = certificate.Standing(written.verdict)
    glyph, _, word = sign(standing)
    sample = written.sample
    out.print(
        Text.assemble(
            (f"{glyph} {word}", f"bold {_COLOURS[written.verdict]}"), "  ", (written.run, "bold")
        )
    )
    extent = f"{sample['turns']} turns, {thousands(sample['tokens'])} tokens of {sample['file']}"
    out.print(
        f"made {age(written.made)} in {duration(written.seconds)} on {extent},"
        f" {written.versions.get('device', '')}\n",
        style="dim",
    )
    out.print(_models(written))
    out.print("")
    out.print(_checks(written))
    if touched:
        files = ", ".join(touched[:4])
        out.print(
            styled(
                "\n[yellow]! outdated:[/] $files changed since. `luthier certify $run` makes a new"
                " one.",
                files=files,
                run=written.run,
            )
        )
    for fault in written.faults:
        glyph, _, _ = sign(certificate.Standing(fault.verdict))
        out.print(Text.assemble("\n", (glyph, _COLOURS[fault.verdict]), f" {fault.sentence}"))


def _models(written: Certificate) -> Table:
    table = plain_table("model", "engine", ">mean NLL", ">tokens", ">ended by stop")
    for column in written.columns:
        stopped = "" if not column.answers else f"{column.stopped} of {column.answers}"
        table.add_row(
            column.model, column.engine, f"{column.nll:.4f}", thousands(column.tokens), stopped
        )
    return table


def _checks(written: Certificate) -> Table:
    table = plain_table("", "check", ">figure", ">green", "unit")
    for check in written.checks:
        glyph, _, _ = sign(certificate.Standing(check.verdict))
        colour = _COLOURS[check.verdict]
        table.add_row(
            Text(glyph, colour),
            check.name,
            figure(check),
            bound(check),
            styled("[dim]$unit[/]", unit=check.unit),
        )
    return table
