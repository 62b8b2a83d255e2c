"""`luthier guard`: what a tuned model won and lost against its base."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click
import msgspec
from rich.text import Text

from jobs.home import jobs_directory
from jobs.job import Job, find
from jobs.luthier_error import LuthierError
from models import chapters
from models.certificate import Check
from models.chapters import Chapter
from models.runs import Run
from models.standing import Standing
from serve.comparison.report import Table
from tui.commands.output import (
    examples,
    json_option,
    out,
    plain_table,
    print_json,
    say_aside,
    styled,
)
from tui.commands.progress import follow_to_end
from tui.commands.verdicts import COLOURS
from tui.completion.name_parameter import Name
from tui.shared.certificate_badge import sign
from workshop.number_format import age, duration
from workshop.regression import result as results
from workshop.regression.launch import Order, guard_run, order_for
from workshop.regression.report import report_of
from workshop.regression.result import Result


@click.command(
    epilog=examples(
        "luthier guard captain",
        "luthier guard captain --at-most-lower facts=3 --flips",
        "luthier guard plain --against captain --only facts --only language",
        "luthier guard captain --lm-eval base.jsonl tuned.jsonl",
    )
)
@click.argument("run", metavar="RUN", type=Name("run"))
@click.option("--show", is_flag=True, help="Show the newest result; ask nothing.")
@click.option("--flips", is_flag=True, help="Print every flipped item with both answers.")
@click.option(
    "--at-most-lower",
    "bounds",
    multiple=True,
    metavar="PROBES=POINTS",
    help="By how many points the share of passed items of a probe family may fall. Overrides the"
    " recipe's bound.",
)
@click.option(
    "--probes",
    "files",
    multiple=True,
    type=click.Path(path_type=Path),
    help="A file of further probes: your own, or rows of IFEval, GSM8K or MMLU-Pro.",
)
@click.option(
    "--only",
    multiple=True,
    metavar="PROBES",
    help="Ask only this probe family (and the plain text), such as facts. Repeat it for several.",
)
@click.option(
    "--against",
    default="",
    metavar="RUN",
    type=Name("run"),
    help="Compare with this run of the same base, such as the one it started from, not the base.",
)
@click.option("--limit", type=click.IntRange(1), help="Ask only the first N probes of each file.")
@click.option(
    "--lm-eval",
    "samples",
    nargs=2,
    type=click.Path(path_type=Path),
    metavar="BASE TUNED",
    help="Pair two sample files that lm-eval wrote, instead of asking anything.",
)
@json_option
def guard(
    run: str,
    show: bool,
    flips: bool,
    bounds: tuple[str, ...],
    files: tuple[Path, ...],
    only: tuple[str, ...],
    against: str,
    limit: int | None,
    samples: tuple[Path, Path] | None,
    as_json: bool,
) -> None:
    """Show what a run's tuned model won and lost against its base, item by item: instructions,
    arithmetic, facts, refusals, language, format, length, and the loss on plain text. Takes one
    to three minutes on a CPU with the built-in model.

    An interrupted guard continues where it stopped. Exit status: 0 for a green or amber result, 1
    for a red one.
    """
    tuned = Run(find(run, "run"))
    points = _points(bounds)
    further = [str(path.absolute()) for path in files]
    order = order_for(tuned, further, points, limit, against, only)
    if samples:
        _show_result(_paired(order, samples, points), flips=flips, as_json=as_json)
        return
    if not show:
        _make(guard_run(order), tuned)
    chapter = chapters.read(tuned.folder.path, "guard", order.subject)
    if chapter is None:
        raise LuthierError(
            "Not guarded yet",
            f"{tuned.id} has no guard{f' {order.subject}' if order.subject else ''}.",
            f"`luthier guard {tuned.id}{_versus(order.subject)}` makes one.",
        )
    _show_chapter(tuned, chapter, flips=flips, as_json=as_json)
    if chapter.verdict == "red":
        sys.exit(1)


def _versus(subject: str) -> str:
    """The option that a chapter of this subject asks for: "against plain-7f3a" as " --against
    plain-7f3a"."""
    return f" --{subject}" if subject else ""


def _points(bounds: tuple[str, ...]) -> dict[str, float]:
    points = {}
    for text in bounds:
        family, _, number = text.partition("=")
        try:
            points[family] = float(number)
        except ValueError:
            raise click.BadParameter(
                f"{text!r} is not PROBES=POINTS, such as facts=3.", param_hint="--at-most-lower"
            ) from None
        if not 0 <= points[family] <= 100:
            raise click.BadParameter(
                f"{text!r}: points are from 0 to 100.", param_hint="--at-most-lower"
            )
    return points


def _make(job: Job, run: Run) -> None:
    follow_to_end(job, f"Guarding {run.name}")


def _paired(order: Order, samples: tuple[Path, Path], points: dict[str, float]) -> Result:
    from workshop.regression.lm_eval import paired

    result = paired(Run(Job(Path(order.run))), *samples, points)
    earlier = order.earlier
    return result if earlier is None else msgspec.structs.replace(result, base=earlier.name)


def _show_chapter(run: Run, chapter: Chapter, *, flips: bool, as_json: bool) -> None:
    result = results.read(jobs_directory() / chapter.job)
    if as_json:
        fields = {"verdict": chapter.verdict, **msgspec.to_builtins(chapter)}
        print_json({**fields, "outdated": chapter.outdated, **_flips_json(result, flips)})
        return
    glyph, _, word = sign(Standing(chapter.verdict))
    out.print(
        Text.assemble(
            (f"{glyph} {word}", f"bold {COLOURS[chapter.verdict]}"),
            "  ",
            (run.id, "bold"),
            f"  {chapter.subject}",
        )
    )
    out.print(f"made {age(chapter.made)} in {duration(chapter.seconds)}\n", style="dim")
    if result is None:
        out.print(chapter.summary)
        _print_faults(chapter.checks)
        say_aside("The job with the answers was removed.")
        return
    _print_tables(result, chapter.checks)
    if chapter.outdated:
        out.print(
            styled(
                "\n[yellow]! outdated:[/] the model's files changed since. `luthier guard $run"
                "$versus` makes a new one.",
                run=run.id,
                versus=_versus(chapter.subject),
            )
        )
    _print_flips(result, flips)


def _show_result(result: Result, *, flips: bool, as_json: bool) -> None:
    """Of pairs that no job has asked."""
    numbers = results.figures(result)
    checks = results.checks(numbers)
    verdict = max((check.verdict for check in checks), key=["green", "amber", "red"].index)
    if as_json:
        summary = results.summary(numbers)
        fields = {"verdict": verdict, "summary": summary, "checks": msgspec.to_builtins(checks)}
        figures = msgspec.to_builtins(numbers)
        print_json({**fields, "figures": figures, **_flips_json(result, flips)})
    else:
        _print_tables(result, checks)
        _print_flips(result, flips)
    if verdict == "red":
        sys.exit(1)


def _flips_json(result: Result | None, flips: bool) -> dict[str, Any]:
    if not flips or result is None:
        return {}
    return {
        "flips": [{"outcome": item.outcome, **msgspec.to_builtins(item)} for item in result.flips]
    }


def _print_tables(result: Result, checks: list[Check]) -> None:
    for title, table, note in report_of(result).tables:
        out.print(title, style="bold")
        _print_table(table)
        if note:
            out.print(f"\n{note}", style="dim")
        out.print("")
    if result.skipped:
        out.print(
            f"{result.skipped} rows have instructions that Luthier cannot check.", style="dim"
        )
    _print_faults(checks)


def _print_table(table: Table) -> None:
    heading, *rows = table
    printed = plain_table(heading[0], *(f">{name}" for name in heading[1:]))
    for row in rows:
        printed.add_row(*row)
    out.print(printed)


def _print_faults(checks: list[Check]) -> None:
    for verdict in ("red", "amber"):
        for check in checks:
            if check.verdict == verdict:
                glyph, _, _ = sign(Standing(check.verdict))
                out.print(Text.assemble((glyph, COLOURS[verdict]), f" {check.sentence}"))


def _print_flips(result: Result, flips: bool) -> None:
    if not flips:
        count = len(result.flips)
        if count:
            say_aside(f"{count} items flipped. --flips prints them with both answers.")
        return
    for item in result.flips:
        colour = {"lost": "red", "won": "green"}[item.outcome]
        out.print(
            Text.assemble(
                "\n", (item.outcome, f"bold {colour}"), f"  {item.id}  ", (item.prompt, "bold")
            )
        )
        out.print(f"a good answer {item.expected}", style="dim", markup=False)
        for name, reply in ((result.base, item.base), (result.tuned, item.tuned)):
            out.print(Text.assemble((f"{name}: ", "bold"), reply.text))
