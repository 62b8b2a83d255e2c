"""`luthier compare`: base and tuned on a file of prompts, with metrics, a judge and a report."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from jobs.files import write_atomic, write_json
from jobs.home import jobs_directory
from jobs.luthier_error import LuthierError
from models.certificate import standing
from models.folder import ModelFolder
from models.registry import resolve
from serve.client import Sampling
from serve.comparison import judge as judging
from serve.comparison.asking import Contender, answer_key, ask, missing
from serve.comparison.items import read_items
from serve.comparison.journal import Entry, Journal
from serve.comparison.judge import Judge, Judged, Pair
from serve.comparison.report import html, markdown, tables
from serve.comparison.summary import Row, summary
from serve.plan import BASE
from serve.planning import NamedAdapter
from serve.servers import Server
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
from workshop.served_runs import adapters_named


@click.command(epilog=examples("luthier compare captain --prompts questions.jsonl"))
@click.argument("runs", nargs=-1, required=True, metavar="RUN[@STEP]...")
@click.option(
    "--prompts",
    type=click.Path(path_type=Path),
    required=True,
    help="Conversations (JSON Lines), or a text with a prompt a line.",
)
@click.option(
    "--out",
    "folder",
    type=click.Path(path_type=Path),
    help="Where answers and report go. Default: compare-RUN.",
)
@click.option(
    "--judge",
    "judge_text",
    metavar="MODEL@URL",
    help="A model that judges each tuned answer against the base's, in both orders.",
)
@click.option(
    "--judge-key",
    metavar="VARIABLE",
    help="The environment variable with the judge's key. Default: LUTHIER_JUDGE_KEY.",
)
@click.option(
    "--judge-tokens",
    type=click.IntRange(1),
    default=1024,
    show_default=True,
    help="At most so many for a verdict; a model that reasons needs more.",
)
@click.option("--limit", type=click.IntRange(1), help="Only the first so many questions.")
@click.option("--temperature", type=click.FloatRange(0, 2), default=0.0, show_default=True)
@click.option("--max-tokens", type=click.IntRange(1), default=512, show_default=True)
@click.option("--seed", type=int, default=0, show_default=True)
@click.option(
    "--at-once",
    type=click.IntRange(1, 256),
    default=8,
    show_default=True,
    help="Questions that are answered at once.",
)
@click.option("--keep", is_flag=True, help="Leave the server running, if this started it.")
@json_option
def compare(
    runs: tuple[str, ...],
    prompts: Path,
    folder: Path | None,
    judge_text: str | None,
    judge_key: str | None,
    judge_tokens: int,
    limit: int | None,
    temperature: float,
    max_tokens: int,
    seed: int,
    at_once: int,
    keep: bool,
    as_json: bool,
) -> None:
    """Ask the base and the tuned models every question of a file; score, judge and report in
    Markdown, HTML and JSON.

    Answers are written as they come: interrupted, the same command goes on where it was. Questions
    of a conversation are asked after the file's own answers, which are also the references.
    """
    items = read_items(prompts, limit)
    base, adapters = adapters_named(runs)
    judge = judging.judge_at(judge_text, judge_key, judge_tokens) if judge_text else None
    sampling = Sampling(temperature, 1.0 if temperature == 0 else 0.95, max_tokens, seed)
    folder = folder or Path(f"compare-{runs[0].replace('/', '-')}")
    journal = Journal(folder / "answers.jsonl")
    try:
        with server_with(base, adapters, keep) as server:
            models = contenders(server, base, adapters)
            questions = missing(items, models, sampling, journal)
            count_entries(
                "Asking",
                len(questions),
                lambda on_entry: ask(
                    server.endpoint, questions, sampling, journal, on_entry, at_once
                ),
            )
        rows = [
            Row(
                item,
                {
                    model.name: journal.found.get(answer_key(item, model, sampling))
                    for model in models
                },
            )
            for item in items
        ]
        judged = None if judge is None else _judged(judge, rows, models, folder, at_once)
    except KeyboardInterrupt:
        talk.print(f"What has been answered is in {folder}. The same command goes on from there.")
        raise
    figures = summary(rows, [model.name for model in models], judged)
    facts = [
        (
            "prompts",
            f"{prompts} ({len(items)} questions, {figures['with_reference']} with a reference)",
        ),
        ("models", ", ".join(f"{model.name} ({model.identity})" for model in models)),
        ("sampling", f"temperature {temperature:g}, at most {max_tokens} tokens, seed {seed}"),
        *_red(adapters),
        *([("judge", f"{judge.model} at {judge.endpoint.base_url}")] if judge is not None else []),
    ]
    names = [model.name for model in models]
    title = f"{' and '.join(names[1:])} beside {names[0]}"
    write_reports(folder, facts, figures, rows, names, title)
    _show(folder, figures, as_json)


def contenders(server: Server, base: str, adapters: list[NamedAdapter]) -> list[Contender]:
    """The base and the tuned models by the names that this server has for them, each with its
    content."""
    by_path = {model.path.resolve(): model.id for model in server.models if model.kind == "adapter"}
    contenders = [Contender(BASE, str(resolve(base).resolve()))]
    return contenders + [
        Contender(by_path[path.resolve()], f"{run or path}, {ModelFolder(path).identity()}")
        for _, path, run in adapters
    ]


def _red(adapters: list[NamedAdapter]) -> list[tuple[str, str]]:
    """What whoever reads the report must know: a model that failed its certificate."""
    standings = {
        name: standing(jobs_directory() / run) for name, _, run in adapters if run is not None
    }
    return [
        ("red certificate", f"{name}: {standing.reason}")
        for name, standing in standings.items()
        if standing.verdict == "red"
    ]


def count_entries(title: str, total: int, work: Callable[[Callable[[Entry], None]], Any]) -> None:
    """Do something that tells of each part that is done."""
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


def _judged(
    judge: Judge, rows: list[Row], models: list[Contender], folder: Path, at_once: int
) -> Judged:
    journal = Journal(folder / "judgements.jsonl")
    pairs = [
        pair
        for row in rows
        for model in models[1:]
        if (pair := _pair(row, models[0].name, model.name)) is not None
    ]
    ordered_pairs = judging.unjudged(judge, pairs, journal)
    count_entries(
        "Judging",
        len(ordered_pairs),
        lambda on_entry: judging.ask_judge(judge, ordered_pairs, journal, on_entry, at_once),
    )
    failures = [
        journal.found[key]
        for pair, turned in ordered_pairs
        if (key := judging.judgement_key(judge, pair, turned)) in journal.found
    ]
    failed = [str(entry["error"]) for entry in failures if entry.get("error") is not None]
    if failed:
        say_warning(
            f"{len(failed)} verdicts failed: {failed[0]}. The same command asks for them again."
        )
    return judging.outcomes(judge, pairs, journal)


def _pair(row: Row, base: str, tuned: str) -> Pair | None:
    """The tuned answer and the base's, if both are there."""
    tuned_answer, other = row.answers[tuned], row.answers[base]
    if (
        tuned_answer is None
        or other is None
        or tuned_answer.get("error") is not None
        or other.get("error") is not None
    ):
        return None
    return Pair(
        row.item,
        tuned,
        base,
        tuned_answer["text"],
        other["text"],
        tuned_answer.get("tokens"),
        other.get("tokens"),
    )


def write_reports(
    folder: Path,
    facts: list[tuple[str, str]],
    figures: dict[str, Any],
    rows: list[Row],
    models: list[str],
    title: str,
) -> None:
    """The same as Markdown, HTML and JSON."""
    write_atomic(folder / "report.md", markdown(title, facts, figures, rows, models))
    write_atomic(folder / "report.html", html(title, facts, figures, rows, models))
    answers = [
        {
            "messages": list(row.item.messages),
            "reference": row.item.reference,
            "answers": row.answers,
        }
        for row in rows
    ]
    write_json(folder / "report.json", {**dict(facts), **figures, "rows": answers})


def _show(folder: Path, figures: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print_json({**figures, "folder": str(folder.absolute())})
    else:
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
            "The server's log tells more: `luthier server status`.",
        )
