"""What an error says of rows in no known format: what their columns hold, which layout is nearest,
and what to do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from jobs.luthier_error import LuthierError
from trainer.data.formats_chains import chain_columns
from trainer.data.formats_exports import export_of
from trainer.data.formats_markup import markup_of
from trainer.data.formats_refusals import refusal_of
from trainer.data.formats_text import header_lines, leading_names
from trainer.data.formats_turns import decoded, turn_keys

Row = Mapping[str, Any]
HINT = (
    "docs/data.md shows each format; the recipe's [format] section can name the format and its"
    " columns."
)
_COLUMNS = 12  # of which the error speaks
_MOST = 0.5


def refused(rows: Sequence[Row]) -> LuthierError | None:
    """The error for rows of a layout that is known and not read; None if most are of none."""
    refusals = [
        refusal
        for row in rows
        if export_of(row) is None and (refusal := refusal_of(row)) is not None
    ]
    if len(refusals) <= _MOST * len(rows):
        return None
    return LuthierError(
        "Luthier does not read this layout",
        f"The rows are {refusals[0].title}.",
        refusals[0].remedy,
    )


def unrecognised(rows: Sequence[Row], nearest: str, asked: str) -> LuthierError:
    """The error for rows of no known format, or not of the one asked for. `nearest` is a sentence
    on the format that has most parts."""
    names = list(dict.fromkeys(str(column) for row in rows for column in row))[:_COLUMNS]
    listed = ", ".join(f"`{name[:40]}`" for name in names)
    columns = f"The rows have the columns {listed}" if names else "The rows have no columns"
    contents = "; ".join(
        f"`{name[:40]}` holds {_holding([row[name] for row in rows if name in row])}"
        for name in names
    )
    summary = (
        f"No row looks like {asked}. {columns}."
        if asked
        else f"{columns}{', which match' if names else ', and match'} no known format."
    )
    layout, remedy = _near_layout(rows)
    message = " ".join(
        part for part in (summary, contents and f"{contents}.", layout or nearest) if part
    )
    return LuthierError(
        "Not in the requested format" if asked else "Format not recognised", message, remedy or HINT
    )


def _holding(values: Sequence[Any]) -> str:
    """What a column holds, in a few words, by the first value that says something."""
    value = next((decoded(value) for value in values if value not in (None, "", [], {})), None)
    match value:
        case None:
            return "nothing"
        case bool():
            return "true or false"
        case int() | float():
            return "numbers"
        case dict() if value and all(str(key).isdecimal() for key in value):
            return "an object of numbered values"
        case dict():
            return f"an object with {', '.join(str(key)[:24] for key in list(value)[:4])}"
        case [dict() as first, *_]:
            return f"a list of objects with {', '.join(str(key)[:24] for key in list(first)[:4])}"
        case [str(), *_]:
            return "a list of texts"
        case [list(), *_]:
            return "a list of lists"
        case [_, *_]:
            return "a list of numbers"
        case _:
            return "text"


def _near_layout(rows: Sequence[Row]) -> tuple[str, str]:
    """Which layout the rows are nearest to, as a sentence, and the remedy; empty where nothing is
    near."""
    texts = [
        (column, value) for row in rows for column, value in row.items() if isinstance(value, str)
    ]
    for column, text in texts:
        if (markup := markup_of(text)) is not None:
            return (
                f"`{column}` is text marked up as {markup.title}.",
                f'[format] format = "markup", columns = {{text = "{column}"}} reads it.',
            )
    for column, text in texts:
        if names := header_lines(text):
            return (
                (
                    f"`{column}` begins with header lines ({', '.join(names[:4])}), as mails and"
                    " articles do, and nobody answers in it."
                ),
                (
                    "Luthier trains only on conversations: write each text as a question and its"
                    " answer (docs/data.md)."
                ),
            )
    for column, text in texts:
        if len(names := leading_names(text)) > 1:
            return (
                (
                    f"`{column}` begins with lines of {', '.join(names[:4])}, and nobody speaks"
                    " twice."
                ),
                "If these are speakers, say which roles they have: [format] format ="
                f' "transcript", speakers = {{"{names[0]}" = "user", "{names[1]}" ='
                ' "assistant"}.',
            )
    words = dict.fromkeys(row[keys[0]] for row in rows if (keys := turn_keys(row)))
    if len(words) > 1 and chain_columns(rows, {}):
        names = list(words)[:3]
        return (
            (
                f"Each row is one message by {', '.join(names)}, and nothing says which of them"
                " is the assistant."
            ),
            (
                f'Say so: [format] format = "turns", roles = {{"{names[0]}" = "user",'
                f' "{names[1]}" = "assistant"}}.'
            ),
        )
    if words:
        return (
            "Each row is one message, and no column says which belong together.",
            (
                'Put each conversation in one row: {"messages": [...]}, or give the rows a'
                " conversation_id and a turn number."
            ),
        )
    if texts and all(len(row) == 1 for row in rows):
        return "Plain text without recognisable speakers.", _PLAIN
    return "", ""


_PLAIN = (
    "Luthier trains only on conversations. If lines begin with the names of speakers, say which"
    ' roles they have: [format] format = "transcript", speakers = {Anna = "user", Bo ='
    ' "assistant"}.'
)
