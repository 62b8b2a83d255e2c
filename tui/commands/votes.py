"""`luthier votes`: what the votes say, and the training data that they are."""

from __future__ import annotations

from pathlib import Path

import click

from jobs.counting import counted
from jobs.luthier_error import LuthierError
from serve.chats.export import write_new
from serve.votes import export as exporting
from serve.votes.report import full_report
from tui.chat.vote_text import report_lines
from tui.commands.output import (
    examples,
    json_option,
    out,
    print_json,
    say_aside,
    say_warning,
    talk,
    write_json,
)


@click.group(epilog=examples("luthier votes show"))
def votes() -> None:
    """Show and export votes on answers, which you cast in the app (f2 on the Chat screen)."""


@votes.command(epilog=examples("luthier votes show"))
@click.option(
    "--all",
    "every",
    is_flag=True,
    help="Also count votes that were cast while the names were visible.",
)
@json_option
def show(every: bool, as_json: bool) -> None:
    """Show win rates with intervals, an exact test, the number of votes still needed, the effect of
    length, and ratings of several models."""
    report = full_report(every)
    if as_json:
        print_json(report.to_json())
    else:
        for line in report_lines(report):
            out.print(line, soft_wrap=True)


@votes.command(epilog=examples("luthier votes export --pairs pairs.jsonl"))
@click.option(
    "--pairs",
    type=click.Path(path_type=Path),
    help="JSONL file for preference pairs: prompt, chosen, rejected.",
)
@click.option(
    "--corrected",
    type=click.Path(path_type=Path),
    help="JSONL file for conversations with corrected answers.",
)
@click.option(
    "--blind-only",
    is_flag=True,
    help="Leave out votes that were cast while the names were visible.",
)
@json_option
def export(pairs: Path | None, corrected: Path | None, blind_only: bool, as_json: bool) -> None:
    """Export votes and corrections as training data in TRL's conversational formats, each row with
    its origin.

    Without --pairs and --corrected, the pairs go to stdout. A recipe's `data` can name both files
    at once.
    """
    exported = exporting.collect(with_named=not blind_only)
    if pairs is None and corrected is None:
        write_json(exporting.to_jsonl(exported.pairs))
    outputs = [
        (path, rows, source)
        for path, rows, source in (
            (pairs, exported.pairs, "votes"),
            (corrected, exported.corrected, "corrections"),
        )
        if path is not None
    ]
    if outputs and not any(rows for _, rows, _ in outputs):
        sources = " and no ".join(source for _, _, source in outputs)
        raise LuthierError(
            "Nothing to export",
            f"There are no {sources} yet.{exported.left_out_note if pairs else ''}",
            "On the Chat screen, f2 votes and w corrects an answer.",
        )
    for path, rows, source in outputs:
        if rows:
            write_new(path.absolute(), exporting.to_jsonl(rows))
        else:
            say_warning(f"There are no {source} yet, so {path.name} was not written.")
    totals = {
        "pairs": len(exported.pairs),
        "corrected": len(exported.corrected),
        "left_out": dict(exported.left_out),
    }
    if as_json and not (pairs is None and corrected is None):
        print_json(totals)
        return
    talk.print(
        f"{counted(len(exported.pairs), 'preference pair')},"
        f" {counted(len(exported.corrected), 'corrected conversation')}."
    )
    for reason, count in exported.left_out.most_common():
        say_aside(f"  left out: {count} ({reason})")
