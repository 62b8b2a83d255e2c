"""A comparison to be read: its figures as tables, and all of it as Markdown, as a pull request has
it. The same as a page: serve.comparison.page."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from jobs.counting import counted
from serve.comparison import nearness
from serve.comparison.journal import Entry
from serve.comparison.summary import Row
from serve.comparison.why_text import in_short, why_tables

Table = list[list[str]]
"""Its first row is the heading."""


def tables(summary: dict[str, Any]) -> list[tuple[str, Table, str]]:
    """Title, table and a note of each part of the summary."""
    parts = [("Answers", _about(summary), "")]
    if "nearness" in summary:
        near = summary["nearness"]
        title = f"How near to the references ({near['questions']} questions)"
        note = f"{nearness.NOTE} {near['problem']}".strip()
        parts.insert(0, (title, nearness.table(near), note))
    elif summary["metrics"] or summary["metrics_problem"]:
        note = (
            "In brackets: the 95 % interval of the difference to the base (paired bootstrap). "
            + summary["metrics_problem"]
        )
        parts.append(("Against the references", _metrics(summary), note.strip()))
    if "judge" in summary:
        judge = summary["judge"]
        share = f"{judge['for_first'] / judge['decisive']:.0%}" if judge["decisive"] else "none"
        note = (
            f"Each pair was judged in both orders: {judge['agreed']} of {judge['pairs']} verdicts"
            f" agreed, the others count as ties. {share} of the single verdicts favoured the"
            " answer that came first. The interval is Wilson's, p of the exact sign test."
        )
        if judge["asked_again"]:
            note += (
                f" {judge['asked_again']} verdicts came only after the judge was asked again for"
                " nothing but A, B or tie."
            )
        left = "".join(
            f" Left out: {count} ({reason})." for reason, count in judge["left_out"].items()
        )
        parts.append(("The judge", _duels(judge), note + left))
    if "why" in summary:
        parts += why_tables(summary["why"])
    return parts


def markdown(
    title: str,
    facts: Sequence[tuple[str, str]],
    summary: dict[str, Any],
    rows: Sequence[Row],
    models: Sequence[str],
) -> str:
    lines = [f"# {title}", "", *(f"- {name}: {value}" for name, value in facts), ""]
    if "why" in summary:
        lines += ["## In short", "", *(f"- {line}" for line in in_short(summary["why"])), ""]
    for heading, table, note in tables(summary):
        lines += [f"## {heading}", "", *_markdown_table(table), "", *([note, ""] if note else [])]
    if "why" in summary:
        detectors = summary["why"]["detectors"]
        lines += ["## How it was seen", ""]
        lines += [*(f"- **{name}**: {how}" for name, how in detectors.items()), ""]
    lines += ["## Every answer", "", "<details>"]
    lines += [f"<summary>{counted(len(rows), 'prompt')} with their answers</summary>", ""]
    for number, row in enumerate(rows, start=1):
        lines += [f"### {number}", "", _quoted(row.item.question), ""]
        for name, text, failed in columns(row, models):
            lines += [f"**{name}**{' (failed)' if failed else ''}", "", _fenced(text), ""]
    return "\n".join([*lines, "</details>", ""])


def _about(summary: dict[str, Any]) -> Table:
    rows = [["model", "answered", "failed", "cut off", "tokens", "first token"]]
    for model, about in summary["models"].items():
        tokens, first = about["mean_tokens"], about["mean_first_token"]
        failed = f"{about['failed']} ({about['first_failure']})" if about["failed"] else "0"
        rows.append(
            [
                model,
                str(about["answered"]),
                failed,
                str(about["cut_off"]),
                "" if tokens is None else f"{tokens:.0f}",
                "" if first is None else f"{first * 1000:.0f} ms",
            ]
        )
    return rows


def _metrics(summary: dict[str, Any]) -> Table:
    rows = [["model", *summary["metrics"]]]
    for model in summary["models"]:
        cells = []
        for values in summary["metrics"].values():
            metric = values[model]
            spread = (
                ""
                if metric["interval"] is None
                else (
                    f"  ({metric['difference']:+.3g} [{metric['interval'][0]:+.3g},"
                    f" {metric['interval'][1]:+.3g}])"
                )
            )
            cells.append(f"{metric['mean']:.3g}{spread}")
        rows.append([model, *cells])
    return rows


def _duels(judge: dict[str, Any]) -> Table:
    rows = [["model", "against", "won", "lost", "tied", "win rate", "95 %", "p", "mean characters"]]
    for duel in judge["duels"]:
        interval = duel["interval"]
        rows.append(
            [
                duel["model"],
                duel["other"],
                str(duel["wins"]),
                str(duel["losses"]),
                str(duel["ties"]),
                "" if duel["win_rate"] is None else f"{duel['win_rate']:.0%}",
                "" if interval is None else f"{interval[0]:.0%} to {interval[1]:.0%}",
                "" if duel["p_value"] is None else f"{duel['p_value']:.2g}",
                f"{duel['mean_length']:.0f} : {duel['mean_other_length']:.0f}",
            ]
        )
    return rows


def _answer_text(answer: Entry | None) -> str:
    if answer is None:
        return "not asked yet"
    if answer.get("error") is not None:
        return f"{answer['text']}\n{answer['error']}".strip()
    return str(answer["text"])


def columns(row: Row, models: Sequence[str]) -> list[tuple[str, str, bool]]:
    """Name, text, and whether it failed, of each answer; the reference last."""
    columns = []
    for model in models:
        answer = row.answers[model]
        failed = answer is None or answer.get("error") is not None
        columns.append((model, _answer_text(answer), failed))
    return (
        columns
        if row.item.reference is None
        else [*columns, ("reference", row.item.reference, False)]
    )


def _markdown_table(table: Table) -> list[str]:
    lines = [
        f"| {' | '.join(cell.replace('|', chr(92) + '|').replace(chr(10), ' ') for cell in row)} |"
        for row in table
    ]
    return [lines[0], f"|{'---|' * len(table[0])}", *lines[1:]]


def _quoted(text: str) -> str:
    return "\n".join(f"> {line}" for line in text.splitlines()) or ">"


def _fenced(text: str) -> str:
    """The text as it is, in a fence that is longer than any within it."""
    fence = "```"
    while fence in text:
        fence += "`"
    return f"{fence}text\n{text}\n{fence}"
