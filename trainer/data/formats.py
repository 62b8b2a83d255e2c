"""From a row to a conversation: which format a file is in, told from its rows, and how its rows
become messages. Light."""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Callable, Sequence
from collections.abc import Mapping as Dict
from dataclasses import dataclass
from typing import Any, Literal

import msgspec

from jobs.luthier_error import LuthierError
from trainer.data.answers import ranking_of
from trainer.data.column_names import kind_of
from trainer.data.columns import NO_SIDE, Sampled, SideColumns, at, side_columns
from trainer.data.formats_chains import CHAINED, OASST, chain_columns, message_columns
from trainer.data.formats_chains import PARTS as CHAIN_PARTS
from trainer.data.formats_columns import (
    after_context,
    alpaca,
    item_keys,
    judges_itself,
    preference,
    prompt_completion,
    question_answer,
    turns,
)
from trainer.data.formats_layouts import HINT, refused, unrecognised
from trainer.data.formats_markup import BY_NAME as MARKUPS
from trainer.data.formats_markup import END, START
from trainer.data.formats_readers import (
    LAYOUTS,
    export_columns,
    export_of,
    exported,
    fits_markup,
    layout_of,
    layout_title,
    marked_up,
    spoken,
    turn,
)
from trainer.data.formats_text import is_transcript, learn_speakers, transcript
from trainer.data.formats_turns import (
    KNOWN_KEYS,
    LIST_COLUMNS,
    TURN_COLUMNS,
    Converted,
    RowProblem,
    decoded,
    is_role,
    meant_key,
    turn_list,
)
from trainer.data.judgements import Judgement
from trainer.data.row import Row as _Row
from trainer.data.row import folded

Role = Literal["system", "user", "assistant", "tool"]
FormatName = Literal[
    "auto", "messages", "sharegpt", "alpaca", "prompt_completion", "question_answer", "chatml_text",
    "preference", "transcript", "markup", "export", "turns",
]  # fmt: skip
# What each format is made of: the parts that it needs, then those that it may have. A part is found
# under any of the names below.
PARTS: dict[FormatName, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "export": ((), ()),
    "preference": (("chosen",), ("rejected", "prompt", "history", "system", "tools")),
    "messages": (("turns", "role", "content"), ("rejected", "system", "tools")),
    "sharegpt": (("turns", "role", "content"), ("rejected", "system", "tools")),
    "transcript": ((), ("turns", "role", "content", "text")),
    "alpaca": (("instruction", "output"), ("input", "history", "system")),
    "question_answer": (("question", "answer"), ("history", "system")),
    "prompt_completion": (("prompt", "completion"), ("history", "system", "tools")),
    "chatml_text": (("text",), ()),
    "markup": (("text",), ()),
    "turns": (("role", "content"), ()),
}
_TITLES = {
    "messages": "OpenAI messages",
    "sharegpt": "ShareGPT",
    "alpaca": "Alpaca",
    "prompt_completion": "prompt and completion",
    "question_answer": "question and answer",
    "chatml_text": "ChatML as text",
    "preference": "preference pairs, of which the chosen answer is trained",
    "transcript": "a transcript",
    "markup": "marked-up text",
    "export": "an export or a log",
    "turns": "messages, one a row",
}


class Mapping(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The recipe's section [format]: what is left out is found out."""

    format: FormatName = "auto"
    columns: dict[str, str] = {}
    """Our names of parts, with the file's columns."""
    roles: dict[str, Role] = {}
    """The file's words for roles, with ours."""
    speakers: dict[str, Role] = {}
    """Names with their roles; "first" and "others" stand for whom nobody named."""
    judgement: Judgement = Judgement()
    """Which answers are good."""
    context: list[str] = []
    """Columns that join the prompt."""
    ignore: list[str] = []
    """Columns that are left aside."""
    layout: str = ""
    """The name of a markup or of an export."""
    encoding: str = ""
    """That of files that are no UTF-8."""
    chain: bool = True
    """Whether rows that follow each other make one conversation."""


@dataclass(frozen=True)
class Format:
    """How a file's rows are read."""

    name: FormatName
    reason: str
    """Why it is this one, in words."""
    mapping: Mapping
    """Complete: given back to `recognise`, it leads to the same format."""
    unused: tuple[str, ...] = ()
    """Columns that nothing reads."""
    side: SideColumns = NO_SIDE
    """What the other columns beside the conversation mean."""

    @property
    def is_chained(self) -> bool:
        """Whether rows make conversations together, and not each its own."""
        return self.name == "turns" or (
            self.mapping.chain and not {"parent", "conversation"}.isdisjoint(self.mapping.columns)
        )

    @property
    def title(self) -> str:
        return _TITLES[self.name].partition(",")[0]

    def convert(self, value: dict[str, Any]) -> Converted:
        """The row's conversation. RowProblem if it makes none; odd messages are left for the
        policies."""
        row = _Row(value, self.mapping)
        if not self.side.is_quiet(value):
            row.met += self.side.met(value)
        try:
            converted = _CONVERTERS[self.name](row)
        except RowProblem as problem:
            if problem.code != "other_format":
                raise
            raise RowProblem("other_format", f"{problem.detail}{_looks_like(value)}") from None
        if not converted.messages:
            raise RowProblem("no_turns", "the row has no turns")
        messages, places = converted.messages, converted.places
        if self.mapping.context and not row.is_asked and (context := row.context()):
            messages = after_context(messages, context, row)
        if not (row.unknown or row.met or row.repairs or messages is not converted.messages):
            return converted
        repairs = (*converted.repairs, *dict.fromkeys(row.repairs))
        return Converted(
            messages, converted.tools, repairs, tuple(row.unknown), tuple(row.met), places
        )


def recognise(rows: Sequence[dict[str, Any]], mapping: Mapping | None = None) -> Format:
    """The format that most of these rows are in; a few dozen are enough. LuthierError if they are
    in none, or not in the one asked for."""
    mapping = mapping or Mapping()
    _check_columns(mapping)
    _check_side(mapping, rows)
    if not rows:
        raise LuthierError("Empty data", "There are no rows to recognise the format from.", HINT)
    if mapping.format == "auto" and (error := refused(rows)) is not None:
        raise error
    if (
        mapping.format in ("auto", "turns")
        and mapping.chain
        and (message := message_columns(rows, mapping.columns, mapping.roles)) is not None
    ):
        return _message_rows(rows, mapping, message)
    matches = [_first_match(_Row(row, mapping)) for row in rows]
    votes = Counter((match[0], tuple(match[1].items())) for match in matches if match is not None)
    if not votes:
        raise unrecognised(rows, _nearest(rows[0]), _TITLES.get(mapping.format, ""))
    (name, items), number = votes.most_common(1)[0]
    needed = dict(items)
    columns = dict(needed)
    for match in matches:
        if match is not None and match[:2] == (name, needed):
            columns = {**match[2], **columns}
    complete = msgspec.structs.replace(mapping, format=name, columns={**columns, **mapping.columns})
    links = chain_columns(rows, complete.columns) if name in CHAINED and mapping.chain else {}
    complete = msgspec.structs.replace(complete, columns={**complete.columns, **links})
    if name in ("markup", "export") and not complete.layout:
        complete = msgspec.structs.replace(
            complete, layout=layout_of([_Row(row, complete) for row in rows])
        )
    optional = ", ".join(
        f"`{column}`"
        for part, column in columns.items()
        if part not in needed and part != "rejected"
    )
    described = (
        f"{_share(number, len(rows))} {_described(name, columns, complete.layout)}: {_TITLES[name]}"
    )
    reason = f"{described}{optional and f', with {optional}'}{_chain_reason(links)}"
    if name == "transcript":
        samples = [turns for row in rows if (turns := spoken(_Row(row, complete), learning=True))]
        speakers, why = (
            (dict(mapping.speakers), "the recipe says who is who")
            if mapping.speakers
            else learn_speakers(samples)
        )
        complete, reason = msgspec.structs.replace(complete, speakers=speakers), f"{reason}; {why}"
    return _with_side(Format(name, reason, complete), rows)


def _message_rows(
    rows: Sequence[dict[str, Any]], mapping: Mapping, columns: dict[str, str]
) -> Format:
    """The format of rows that are one message each and follow each other."""
    oasst = [name for name in OASST if name in rows[0]] if "message_tree_id" in rows[0] else []
    ignore = [*dict.fromkeys((*mapping.ignore, *oasst))]
    complete = msgspec.structs.replace(
        mapping, format="turns", columns={**columns, **mapping.columns}, ignore=ignore
    )
    number = sum(columns["role"] in row and columns["content"] in row for row in rows)
    described = (
        f"{_share(number, len(rows))} `{columns['role']}` and `{columns['content']}`:"
        f" {_TITLES['turns']}"
    )
    reason = f"{described}{_chain_reason(columns) or '; the file is one conversation'}"
    return _with_side(
        Format(
            "turns",
            f"{reason}{'; what OpenAssistant says of them is left aside' if oasst else ''}",
            complete,
        ),
        rows,
    )


def _chain_reason(columns: Dict[str, str]) -> str:
    if "parent" in columns:
        return (
            f"; `{columns['parent']}` and `{columns['id']}` say which row follows which, and rows"
            " that follow each other are one conversation"
        )
    if "conversation" in columns:
        order = f", in the order of `{columns['turn']}`" if "turn" in columns else ""
        return f"; rows of one `{columns['conversation']}` are one conversation{order}"
    return ""


# Formats whose prompt is made of columns, so that context can join it.
_OF_COLUMNS = ("alpaca", "question_answer", "prompt_completion", "preference")


def _with_side(row_format: Format, rows: Sequence[dict[str, Any]]) -> Format:
    """The format with the meaning of the columns that it does not use."""
    mapping = row_format.mapping
    used = {*mapping.columns.values()}
    answers = [
        mapping.columns[part]
        for part in ("output", "answer", "completion", "chosen")
        if part in mapping.columns
    ]
    used |= {ranking for row in rows for column in answers if (ranking := ranking_of(row, column))}
    used |= {column for row in rows for column in export_columns(_Row(row, mapping))}
    samples = [_sampled(row_format, row) for row in rows]
    prompt = next(
        (
            mapping.columns[part]
            for part in ("prompt", "question", "instruction")
            if part in mapping.columns
        ),
        "",
    )
    side, unused = side_columns(
        samples,
        used,
        reads_context=row_format.name in _OF_COLUMNS
        and any(isinstance(at(row, prompt), str) for row in rows),
        is_pair=row_format.name == "preference",
        judgement=mapping.judgement if mapping.judgement.column else None,
        context=mapping.context,
        ignore=mapping.ignore,
    )
    parts = [f"with {_listed(side.context)} in the prompt"] * bool(side.context)
    parts += [
        f"{_listed([judge.column for judge in side.judges])} says which answers are good"
    ] * bool(side.judges)
    reason = ", ".join((row_format.reason, *parts))
    judgement = side.judges[0] if len(side.judges) == 1 else mapping.judgement
    complete = msgspec.structs.replace(mapping, context=list(side.context), judgement=judgement)
    return Format(row_format.name, reason, complete, (*unused, *_unused_keys(rows, complete)), side)


def _listed(columns: Sequence[str]) -> str:
    return " and ".join(f"`{column}`" for column in columns)


def _sampled(row_format: Format, row: dict[str, Any]) -> Sampled:
    try:
        messages = row_format.convert(row).messages
    except RowProblem:
        messages = []
    texts = [
        (message["role"] == "assistant", message["content"])
        for message in messages
        if isinstance(message["content"], str)
    ]
    asked, answered = (
        "\n\n".join(text for is_answer, text in texts if is_answer == by_assistant)
        for by_assistant in (False, True)
    )
    return Sampled(row, asked, answered)


def _unused_keys(rows: Sequence[dict[str, Any]], mapping: Mapping) -> list[str]:
    """Keys of messages that nothing reads, but for those that look like misspelt ones: these are
    the policies' business."""
    turns, keys = (
        mapping.columns.get("turns"),
        (mapping.columns.get("role", ""), mapping.columns.get("content", "")),
    )
    items = (
        [item for row in rows for item in turn_list(at(row, turns)) or [] if isinstance(item, dict)]
        if turns
        else []
    )
    unread_keys = dict.fromkeys(
        key
        for item in items
        for key in item
        if key not in keys and not (kind_of(key) and judges_itself(item, keys[0]))
    )
    known_keys = () if mapping.format == "transcript" else KNOWN_KEYS
    return [
        f"{turns}[].{key}"
        for key in unread_keys
        if key not in known_keys and (not known_keys or meant_key(key, keys) is None)
    ]


def _check_columns(mapping: Mapping) -> None:
    parts_of_format = sorted(
        {
            part
            for name, parts in PARTS.items()
            if mapping.format in ("auto", name)
            for part in (*parts[0], *parts[1])
        }
    )
    parts_of_format = [
        *parts_of_format,
        *(CHAIN_PARTS if mapping.format in ("auto", *CHAINED) else ()),
    ]
    if mapping.layout and mapping.layout not in LAYOUTS:
        raise LuthierError(
            "Unknown layout",
            f"format.layout is {mapping.layout!r}, which is not a known layout.",
            f"Known: {', '.join(LAYOUTS)}.",
        )
    for part in mapping.columns:
        if part not in parts_of_format:
            close = difflib.get_close_matches(part, parts_of_format, n=1)
            hint = f"Did you mean {close[0]}?" if close else f"Known: {', '.join(parts_of_format)}."
            raise LuthierError(
                "Unknown part in the format",
                f"{mapping.format} has no part named format.columns.{part}.",
                hint,
            )


def _check_side(mapping: Mapping, rows: Sequence[dict[str, Any]]) -> None:
    """The columns that [format] reads beside a conversation's own are there."""
    columns = [*mapping.context, mapping.judgement.column]
    for column in columns:
        if (
            column
            and rows
            and not any(column in row or at(row, column) is not None for row in rows)
        ):
            names = list(dict.fromkeys(str(name) for row in rows for name in row))
            close = difflib.get_close_matches(column, names, n=1)
            hint = (
                f"Did you mean {close[0]}?"
                if close
                else f"The rows have the columns {', '.join(names[:12])}."
            )
            raise LuthierError(
                "No such column", f"[format] names the column `{column}`, but no row has it.", hint
            )


Match = tuple[FormatName, dict[str, str], dict[str, str]]


def _first_match(row: _Row) -> Match | None:
    """The row's format; lines like "name: text" stand in many an answer, so that they are the last
    to count."""
    names = list(PARTS) if row.mapping.format == "auto" else [row.mapping.format]
    first_match = next((match for name in names if (match := _match(name, row))), None)
    if first_match is not None or "transcript" not in names:
        return first_match
    return _match_text("transcript", row, lambda text: is_transcript(text, row.mapping.speakers))


def _match(name: FormatName, row: _Row) -> Match | None:
    """The parts that a row of a format must have and those that it may have, with their columns;
    None if it is not in it."""
    if name in ("messages", "sharegpt", "transcript"):
        return _match_turns(name, row)
    if name == "chatml_text":
        return _match_text(name, row, MARKUPS["chatml"].fits)
    if name == "turns":
        return None  # told from all rows of the sample, by `message_columns`
    if name == "markup":
        return _match_text(name, row, fits_markup(row))
    if name == "export":
        is_free = row.mapping.format == name or not row.mapping.columns
        return (name, {}, {}) if is_free and export_of(row) is not None else None
    find = row.of_pair if name == "preference" else row.find
    needed = {part: find(part) for part in PARTS[name][0]}
    optional = {part: find(part) for part in PARTS[name][1]}
    columns = [column for column in needed.values() if column is not None]
    if len({*columns}) < len(needed) or any(at(row.value, column) is None for column in columns):
        return None
    if name == "preference" and optional["rejected"] is None and row.mapping.format == "auto":
        return None
    if (
        (history := optional.get("history"))
        and "history" not in row.mapping.columns
        and name != "alpaca"
    ):
        optional["history"] = history if isinstance(decoded(row.value[history]), list) else None
    return name, {part: str(column) for part, column in needed.items()}, _present(optional, columns)


def _present(optional: Dict[str, str | None], taken: Sequence[str]) -> dict[str, str]:
    return {
        part: column
        for part, column in optional.items()
        if column is not None and column not in taken
    }


def _match_turns(name: FormatName, row: _Row) -> Match | None:
    usual = [row.columns[column] for column in TURN_COLUMNS if column in row.columns]
    other_columns = [
        column for column in row.value if column not in usual and folded(column) not in LIST_COLUMNS
    ]
    mapped = row.mapping.columns.get("turns")
    for column in (
        [*usual, *other_columns]
        if mapped is None
        else [name for name in (row.find("turns"),) if name]
    ):
        items = turn_list(at(row.value, column)) or []
        keys = item_keys(items, row.mapping.columns)
        if keys is None:
            continue
        words = [
            item[keys[0]]
            for item in items
            if isinstance(item, dict) and isinstance(item.get(keys[0]), str)
        ]
        if row.mapping.format in ("auto", "") and _kind_of_turns(keys, words, row.mapping) != name:
            return None
        if name == "transcript" and not any(word.strip() for word in words):
            return None
        optional = (
            {} if name == "transcript" else {part: row.of_pair(part) for part in PARTS[name][1]}
        )
        return (
            name,
            {"turns": column, "role": keys[0], "content": keys[1]},
            _present(optional, [column]),
        )
    return None


def _kind_of_turns(keys: tuple[str, str], words: Sequence[str], mapping: Mapping) -> str:
    if keys[0] not in ("role", "from") or not any(
        word in mapping.roles or is_role(word) for word in words
    ):
        return "transcript"
    return "sharegpt" if keys[0] == "from" else "messages"


def _match_text(name: FormatName, row: _Row, fits: Callable[[str], bool]) -> Match | None:
    mapped = row.mapping.columns.get("text")
    columns = (
        list(row.value) if mapped is None else [column for column in (row.find("text"),) if column]
    )
    column = next(
        (
            column
            for column in columns
            if isinstance(at(row.value, column), str) and fits(at(row.value, column))
        ),
        None,
    )
    return None if column is None else (name, {"text": column}, {})


def _described(name: FormatName, columns: Dict[str, str], layout: str) -> str:
    if "turns" in columns:
        return (
            f"`{columns['turns']}` whose items have `{columns['role']}` and `{columns['content']}`"
        )
    if name == "markup":
        return f"`{columns['text']}` with turns in the markup of {layout_title(layout)}"
    if name == "export":
        return f"the columns of {layout_title(layout)}"
    if name == "chatml_text":
        return f"`{columns['text']}` with turns between {START} and {END}"
    if "text" in columns:
        return f'`{columns["text"]}` with lines like "name: text"'
    return " and ".join(
        f"`{columns[part]}`" for part in (*PARTS[name][0], "rejected") if part in columns
    )


def _share(number: int, total: int) -> str:
    return "every row has" if number == total else f"{number} of {total} rows have"


def _looks_like(value: dict[str, Any]) -> str:
    match = _first_match(_Row(value, Mapping()))
    return "" if match is None else f" (the row looks like {_TITLES[match[0]].partition(',')[0]})"


def _nearest(value: dict[str, Any]) -> str:
    """The format of which a row has the most parts."""
    row, lacking = _Row(value, Mapping()), dict[FormatName, list[str]]()
    for name, (needed, _) in PARTS.items():
        missing = [part for part in needed if row.find(part) is None]
        if 0 < len(missing) < len(needed):
            lacking[name] = missing
    if not lacking:
        return ""
    nearest = min(lacking, key=lambda name: len(lacking[name]))
    parts = " and ".join(f"`{part}`" for part in lacking[nearest])
    return f"The nearest format is {_TITLES[nearest].partition(',')[0]}, which also needs {parts}."


_CONVERTERS: dict[str, Callable[[_Row], Converted]] = {
    "messages": turns,
    "sharegpt": turns,
    "alpaca": alpaca,
    "prompt_completion": prompt_completion,
    "question_answer": question_answer,
    "chatml_text": marked_up,
    "markup": marked_up,
    "export": exported,
    "turns": turn,
    "preference": preference,
    "transcript": lambda row: transcript(spoken(row), row.mapping.speakers),
}
