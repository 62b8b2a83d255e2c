"""A guard's result to be read: its figures as a table, and the flips with both answers. Light."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from jobs.files import write_atomic
from jobs.job import Job
from models.regression_guard import ALL, BASE
from models.runs import Run
from serve.comparison.report import Table
from serve.replay import Script, ScriptTurn
from workshop.comparison.reports import REPORT_MARKDOWN, Answer, Question, Report
from workshop.regression.launch import order_of
from workshop.regression.result import (
    THE_BASE,
    Figures,
    Item,
    Line,
    Result,
    change,
    checks,
    figures,
    nats,
    summary,
)

FLIPS_FILE = "flips.jsonl"
"""The prompts that flipped, for the chat: it asks them again."""
_NOTE = (
    "with the 95 % interval (Bonett and Price). p: exact McNemar test, two-sided, corrected by"
    " Holm's method for all tests together."
)


@dataclass(frozen=True)
class Guarded:
    """What a guard's report is about, and what it leads to."""

    run: Run
    against: Run | None
    """The run that took the base's place."""
    flips: list[Script]
    """In the report's order, to be asked again as the guard has: with its system prompts, and with
    none where it had none."""


def guarded(job: Job, result: Result) -> Guarded:
    """LuthierError if the settings of the job are damaged."""
    order = order_of(job)
    flips: list[Script] = [
        (ScriptTurn(({"role": "user", "content": item.prompt},), system=item.system),)
        for item in result.flips
    ]
    return Guarded(Run(Job(Path(order.run))), order.earlier, flips)


def table(numbers: Figures) -> Table:
    """A line for each probe family, then all."""
    models, bounds = (_column(numbers), "tuned"), ("95 %", "p", "bound")
    heading = ["probes", "items", *models, "lost", "won", "points", *bounds]
    return [heading, *(_row(line) for line in numbers.all_lines)]


def _row(line: Line) -> list[str]:
    return [
        "all" if line.family == ALL else line.family,
        str(line.items),
        str(line.base),
        str(line.tuned),
        str(line.lost),
        str(line.won),
        change(line.points),
        f"{change(line.low)}…{change(line.high)}",
        p_text(line.corrected),
        f"{change(-line.bound)}",
    ]


def _column(numbers: Figures) -> str:
    return BASE if numbers.reference == THE_BASE else "other"


def _note(numbers: Figures) -> str:
    """How to read the table, and which model the other is."""
    column = _column(numbers)
    is_named = "" if column == BASE else f" ({numbers.reference})"
    return f"Points: tuned less {column}{is_named}, {_NOTE}"


def p_text(p_value: float) -> str:
    return "<0.001" if p_value < 0.001 else f"{p_value:.2g}"


def text_table(numbers: Figures) -> Table | None:
    line = numbers.text
    if line is None:
        return None
    return [
        [
            "passages",
            _column(numbers),
            "tuned",
            "higher",
            "lower",
            "difference",
            "95 %",
            "p",
            "bound",
        ],
        [
            str(line.passages),
            f"{line.base:.2f}",
            f"{line.tuned:.2f}",
            str(line.worse),
            str(line.better),
            nats(line.difference),
            f"{nats(line.low)}…{nats(line.high)}",
            p_text(line.corrected),
            f"{line.bound:+g}",
        ],
    ]


def report_of(result: Result) -> Report:
    """As the screen of comparisons shows one: its prompts are the flips."""
    numbers = figures(result)
    tables = [(summary(numbers), table(numbers), _note(numbers))]
    losses = text_table(numbers)
    if losses is not None:
        tables.append(("Loss on plain text, in nats a token", losses, ""))
    flips = tuple(_question(item, result) for item in result.flips)
    every = checks(numbers)
    faults = [
        (check.verdict, check.sentence)
        for verdict in ("red", "amber")
        for check in every
        if check.verdict == verdict
    ]
    against = [] if result.base == BASE else [("against", result.base)]
    facts = (*faults, ("run", result.run), *against)
    return Report(facts, tuple(tables), flips)


def _question(item: Item, result: Result) -> Question:
    about = f"{item.outcome}: {item.id}. A good answer {item.expected}."
    system = f"\n\nsystem: {item.system}" if item.system else ""
    answers = (Answer(result.base, item.base.text), Answer(result.tuned, item.tuned.text))
    return Question(item.prompt, about + system, answers, None)


def write_report(folder: Path, result: Result) -> None:
    """As Markdown, and the flipped prompts as conversations."""
    write_atomic(folder / REPORT_MARKDOWN, markdown(result))
    lines = [json.dumps({"messages": _messages(item)}, ensure_ascii=False) for item in result.flips]
    write_atomic(folder / FLIPS_FILE, "".join(f"{line}\n" for line in lines))


def _messages(item: Item) -> list[dict[str, str]]:
    system = [{"role": "system", "content": item.system}] if item.system else []
    return [*system, {"role": "user", "content": item.prompt}]


def markdown(result: Result) -> str:
    report = report_of(result)
    parts = [f"# {result.tuned} beside {result.base}: won and lost"]
    for title, rows, note in report.tables:
        parts += [f"## {title}", _markdown_table(rows), *([note] if note else [])]
    parts.append(f"## Flips ({len(result.flips)})")
    for item in result.flips:
        parts += [
            f"### {item.id}: {item.outcome}",
            _quoted(item.prompt),
            f"A good answer {item.expected}.",
            f"{result.base}:\n\n{_quoted(item.base.text)}",
            f"{result.tuned}:\n\n{_quoted(item.tuned.text)}",
        ]
    return "\n\n".join(parts) + "\n"


def _markdown_table(rows: Table) -> str:
    heading, *body = rows
    lines = [heading, ["---"] * len(heading), *body]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _quoted(text: str) -> str:
    return "\n".join(f"> {line}" for line in text.splitlines() or [""])
