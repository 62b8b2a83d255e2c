"""`luthier compare`: base and tuned on a file of prompts, with metrics, a judge and a report."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from jobs.luthier_error import LuthierError
from serve.comparison.journal import Entry
from serve.comparison.report import tables
from serve.comparison.why_text import in_short
from tui.commands.lending import server_with
from tui.commands.output import (
    examples,
    json_option,
    out,
    plain_table,
    print_json,
    say_done,
    say_warning,
    talk,
)
from tui.commands.progress import bar
from tui.completion.name_parameter import Name
from workshop.comparison.compare import Order, prepare
from workshop.comparison.compare import compare as do_compare


@click.command(
    epilog=examples(
        "luthier compare captain --prompts questions.jsonl",
        "luthier compare captain --prompts q.jsonl --by topic --noise captain-seed-2",
    )
)
@click.argument("runs", nargs=-1, required=True, metavar="RUN[@STEP]...", type=Name("run"))
@click.option(
    "--prompts",
    type=click.Path(path_type=Path),
    required=True,
    help="A file of conversations (JSON Lines), or a text file with one prompt per line.",
)
@click.option(
    "--out",
    "folder",
    type=click.Path(path_type=Path),
    help="The folder for answers and report. Default: compare-RUN.",
)
@click.option(
    "--judge",
    "judge_text",
    metavar="MODEL@URL",
    help="A model that judges each tuned answer against the base answer, in both orders.",
)
@click.option(
    "--judge-key",
    metavar="VARIABLE",
    help="The environment variable that holds the judge's key. Default: LUTHIER_JUDGE_KEY.",
)
@click.option(
    "--judge-tokens",
    type=click.IntRange(1),
    default=1024,
    show_default=True,
    help="Maximum tokens per verdict (raise it for reasoning models).",
)
@click.option(
    "--by",
    multiple=True,
    metavar="COLUMN",
    help="Also slice the prompts by this column of their file. Repeat the option for several.",
)
@click.option(
    "--noise",
    metavar="RUN",
    type=Name("run"),
    help="A run of the same recipe with another seed: the unit for every difference.",
)
@click.option("--limit", type=click.IntRange(1), help="Ask only the first N questions.")
@click.option("--temperature", type=click.FloatRange(0, 2), default=0.0, show_default=True)
@click.option("--max-tokens", type=click.IntRange(1), default=512, show_default=True)
@click.option("--seed", type=int, default=0, show_default=True)
@click.option(
    "--at-once",
    type=click.IntRange(1, 256),
    default=8,
    show_default=True,
    help="How many questions to ask at the same time.",
)
@click.option("--keep", is_flag=True, help="Leave the server running if this command started it.")
@json_option
def compare(
    runs: tuple[str, ...],
    prompts: Path,
    folder: Path | None,
    judge_text: str | None,
    judge_key: str | None,
    judge_tokens: int,
    by: tuple[str, ...],
    noise: str | None,
    limit: int | None,
    temperature: float,
    max_tokens: int,
    seed: int,
    at_once: int,
    keep: bool,
    as_json: bool,
) -> None:
    """Ask the base and the tuned models every question in a file. Scores and judges the answers,
    says why they differ, and writes a report in Markdown, HTML and JSON.

    Answers are saved as they arrive: after an interruption, the same command continues where it
    stopped. Each question of a conversation follows the file's own earlier answers, which also
    serve as references.
    """
    order = Order(
        list(runs),
        str(prompts),
        limit,
        temperature,
        max_tokens,
        seed,
        at_once,
        judge_text or "",
        judge_key,
        judge_tokens,
        list(by),
        noise or "",
    )
    prepared = prepare(order)
    folder = folder or Path(f"compare-{runs[0].replace('/', '-')}")
    try:
        figures = do_compare(
            prepared,
            folder,
            lambda base, adapters: server_with(base, adapters, keep),
            count_entries,
            say_warning,
        )
    except KeyboardInterrupt:
        talk.print(f"The answers so far are in {folder}. The same command continues from there.")
        raise
    _show(folder, figures, as_json)


def count_entries(title: str, total: int, work: Callable[[Callable[[Entry], None]], Any]) -> None:
    """Do work that reports each part that is done."""
    if not total:
        return
    with bar() as progress:
        task = progress.add_task(title, total=total, left="")
        failed = 0

        def count_entry(entry: Entry) -> None:
            nonlocal failed
            failed += entry.get("error") is not None
            progress.update(task, advance=1, left=f"{failed} failed" if failed else "")

        asyncio.run(work(count_entry))
    say_done(title, f"{total} times")


def _show(folder: Path, figures: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print_json({**figures, "folder": str(folder.absolute())})
    else:
        out.print("In short", style="bold")
        for sentence in in_short(figures["why"]):
            out.print(f"· {sentence}", markup=False)
        out.print("")
        for title, table, note in tables(figures):
            printed = plain_table(*table[0])
            for line in table[1:]:
                printed.add_row(*line)
            out.print(title, style="bold")
            out.print(printed)
            out.print(f"{note}\n" if note else "", style="dim")
        talk.print(f"The report: {folder}/report.md, report.html, report.json")
    if not any(about["answered"] for about in figures["models"].values()):
        failure = next(about["first_failure"] for about in figures["models"].values())
        raise LuthierError(
            "No question was answered",
            failure,
            "The server's log says more: `luthier server status`.",
        )
