"""A comparison's report as it is read on the screen: its figures, and a prompt with all answers."""

from __future__ import annotations

from textual.content import Content

from serve.comparison.report import Table
from tui.shared.word_diff import marked
from workshop.comparison.reports import Answer, Question, Report

_MUTED = "$foreground-muted"
_GAPS = (3, 2)  # cells between columns: narrower where that makes them fit
_COLOURS = {"red certificate": "$error", "red": "$error", "amber": "$warning"}
_SHORTEST = 12  # cells that a column is cut to


def figures_text(report: Report, width: int) -> Content:
    """Every table with its note, then what was compared."""
    parts: list[Content] = []
    if report.in_short:
        parts.append(Content.styled("In short", "bold"))
        parts += [Content.assemble(("· ", _MUTED), line) for line in report.in_short]
        parts.append(Content(""))
    for title, table, note in report.tables:
        parts += [Content.styled(title, "bold"), *_table_lines(table, width)]
        if note:
            parts.append(Content.styled(note, _MUTED))
        parts.append(Content(""))
    for name, value in report.facts:
        colour = _COLOURS.get(name, _MUTED)
        parts.append(Content.assemble((f"{name}  ", colour), value))
    return Content("\n").join(parts)


def _table_lines(table: Table, width: int) -> list[Content]:
    """The columns side by side, the longest cut where that makes them fit; else each row as names
    and values below each other."""
    widths = [max(len(row[index]) for row in table) for index in range(len(table[0]))]
    room = width - sum(widths)
    gap = next((gap for gap in _GAPS if gap * (len(widths) - 1) <= room), _GAPS[0])
    excess = gap * (len(widths) - 1) - room
    longest = widths.index(max(widths))
    heading, *rows = table
    if excess > 0 and widths[longest] - excess >= max(_SHORTEST, len(heading[longest])):
        widths[longest] -= excess
        excess = 0
    if excess <= 0:
        lines = [_table_line(row, widths, gap) for row in table]
        return [lines[0].stylize(_MUTED), *lines[1:]]
    title_width = max(map(len, heading))
    return [
        Content.assemble((f"{name:<{title_width}}  ", _MUTED), cell)
        for row in rows
        for name, cell in zip(heading, row, strict=True)
    ]


def _table_line(row: list[str], widths: list[int], gap: int) -> Content:
    pairs = zip(row, widths, strict=True)
    cells = [Content(cell).truncate(width, ellipsis=True) for cell, width in pairs]
    padded = [
        cell.pad_right(max(0, width - cell.cell_length))
        for cell, width in zip(cells, widths, strict=True)
    ]
    return Content(" " * gap).join(padded)


def question_text(question: Question, number: int, count: int) -> Content:
    """Which prompt it is, and what was asked."""
    head = Content.styled(f"prompt {number} of {count}", _MUTED)
    before = [Content.styled(question.history, _MUTED)] if question.history else []
    lines = [head, *before, Content.styled(question.text, "bold")]
    if question.changes:
        flipped = [("flipped  ", "bold $warning")] if question.flipped else []
        lines.append(Content.assemble(*flipped, (" · ".join(question.changes), _MUTED)))
    return Content("\n").join(lines)


def answer_columns(question: Question, with_differences: bool) -> list[Content]:
    """A column for each model, and one for the reference where there is one. With differences, the
    words that the first model's answer has not are underlined."""
    first = question.answers[0].text if question.answers else ""
    columns = [
        _answer(answer, first if with_differences and index else None)
        for index, answer in enumerate(question.answers)
    ]
    if question.reference is not None:
        title = Content.styled("reference", "bold $success")
        columns.append(Content("\n\n").join([title, Content(question.reference)]))
    return columns


def _answer(answer: Answer, base: str | None) -> Content:
    is_base = answer.model == "base"
    title = Content.styled(answer.model, "bold $secondary" if is_base else "bold $primary")
    text = Content(answer.text)
    if base is not None:
        text = marked(answer.text, base, "underline $primary")
    parts = [title, text]
    if answer.failed:
        parts.append(Content.styled(answer.failed, "$error"))
    return Content("\n\n").join(part for part in parts if part)
