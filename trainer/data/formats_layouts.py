"""What an error says of rows in no known format: what their columns hold, which layout is nearest, and what to do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from jobs.errors import LuthierError
from trainer.data.formats_exports import export_of, refusal_of
from trainer.data.formats_markup import markup_of
from trainer.data.formats_text import header_lines
from trainer.data.formats_turns import decoded, turn_keys

Row = Mapping[str, Any]
HINT = "docs/data.md shows each format; the recipe's [format] section can name the format and its columns."
_COLUMNS = 12  # of which the error speaks
_MOST = 0.5


def refused(rows: Sequence[Row]) -> LuthierError | None:
    """The error for rows of a layout that is known and not read; None if most are of none."""
    refusals = [refusal for row in rows if export_of(row) is None and (refusal := refusal_of(row)) is not None]
    if len(refusals) <= _MOST * len(rows):
        return None
    return LuthierError("A layout that is not read", f"The rows are {refusals[0].title}.", refusals[0].remedy)


def unrecognised(rows: Sequence[Row], title: str = "") -> LuthierError:
    """The error for rows of no known format, or not of the one asked for, whose `title` is given."""
    held = holdings(rows)
    message = f"No row looks like {title}. The rows have {held}." if title else f"The rows have {held}, which is none of the known formats."
    layout, remedy = _nearest(rows)
    heading = "Not in the format asked for" if title else "Format not recognised"
    return LuthierError(heading, f"{message}{layout and f' {layout}'}", remedy or HINT)


def holdings(rows: Sequence[Row]) -> str:
    """The columns with what stands in them."""
    values: dict[str, list[Any]] = {}
    for row in rows:
        for column, value in row.items():
            values.setdefault(column, []).append(value)
    return ", ".join(f"`{column[:40]}` ({_kind(held)})" for column, held in list(values.items())[:_COLUMNS]) or "no column"


def _kind(values: Sequence[Any]) -> str:
    kinds = dict.fromkeys(_kind_of(value) for value in values if value is not None)
    return " or ".join(list(kinds)[:3]) or "null"


def _kind_of(value: Any) -> str:
    value = decoded(value)
    if isinstance(value, str):
        return "text"
    if isinstance(value, bool):
        return "true or false"
    if isinstance(value, int | float):
        return "numbers"
    if isinstance(value, dict):
        return f"objects with {_named(value)}" if value else "empty objects"
    first = value[0] if value else None
    if isinstance(first, dict):
        return f"lists of objects with {_named(first)}"
    return f"lists of {_kind_of(first)}" if value else "empty lists"


def _named(value: Row) -> str:
    names = [f"`{str(name)[:30]}`" for name in value]
    return ", ".join(names[:4]) + (" ..." if len(names) > 4 else "")


def _nearest(rows: Sequence[Row]) -> tuple[str, str]:
    """Which layout the rows are nearest to, as a sentence, and the remedy; empty where nothing is near."""
    texts = [(column, value) for row in rows for column, value in row.items() if isinstance(value, str)]
    for column, text in texts:
        if (markup := markup_of(text)) is not None:
            return (
                f"`{column}` is text marked up as {markup.title}.",
                f'[format] format = "markup", columns = {{text = "{column}"}} reads it.',
            )
    for column, text in texts:
        if names := header_lines(text):
            return (
                f"`{column}` begins with header lines ({', '.join(names[:4])}), as mails and articles do: nobody answers in it.",
                "Only conversations can be trained: write each as a question and the answer to it (docs/data.md).",
            )
    if any(turn_keys(row) for row in rows):
        return (
            "Each row is one message, and no column says which belong together.",
            'Put each conversation in one row: {"messages": [...]}, or give the rows a conversation_id and a turn number.',
        )
    if texts and all(len(row) == 1 for row in rows):
        return "Plain text: nobody is seen to speak in it.", _PLAIN
    return "", ""


_PLAIN = (
    'Only conversations can be trained. Where names stand at the beginning of lines, say whose: [format] format = "transcript", '
    'speakers = {Anna = "user", Bo = "assistant"}.'
)
