"""Rows that are parts of conversations: by which columns they follow each other, told from a sample
of them. Light."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from trainer.data.formats_turns import CONTENT_KEYS, ROLE_KEYS, is_role, turn_keys

Row = Mapping[str, Any]

# Formats whose rows may be a turn or two of a longer conversation.
CHAINED = ("turns", "alpaca", "prompt_completion", "question_answer")
PARTS = ("id", "parent", "conversation", "turn")
_IDS = ("id", "message_id", "uuid", "msg_id", "node_id", "turn_id")
_PARENTS = (
    "parent_id", "parent", "parent_message_id", "parent_message_uuid", "parent_uuid", "parentuuid",
    "prev_id", "previous_id", "prev", "reply_to", "reply_to_id", "in_reply_to",
)  # fmt: skip
_CONVERSATIONS = (
    "conversation_id", "conv_id", "convo_id", "conversationid", "dialog_id", "dialogue_id",
    "session_id", "thread_id", "chat_id", "conversation_hash", "message_tree_id", "tree_id",
    "conversation", "dialog", "dialogue", "thread", "session",
)  # fmt: skip
_NUMBERS = (
    "turn", "turn_id", "turn_number", "turn_index", "turn_idx", "turn_no", "message_index",
    "message_number", "message_id", "utterance_id", "index", "idx", "position", "order", "step",
    "seq", "sequence", "number", "round",
)  # fmt: skip
_TIMES = (
    "timestamp",
    "created_at",
    "create_time",
    "created",
    "created_date",
    "sent_at",
    "date",
    "time",
)
# How tables write that there is none.
_NONE = {"", "nan", "none", "null", "-1", "na", "<na>"}
_FLOAT = re.compile(r"-?\d+\.0+")
# What OpenAssistant's messages say of themselves: its trees are reviewed, and rank only sorts the
# answers to one question.
OASST = (
    "rank",
    "labels",
    "review_result",
    "review_count",
    "detoxify",
    "emojis",
    "deleted",
    "synthetic",
    "tree_state",
    "model_name",
)
# SillyTavern: a message a row, the file a conversation.
_TAVERN = ("is_user", "mes")


def message_columns(
    rows: Sequence[Row], columns: Mapping[str, str], roles: Mapping[str, str]
) -> dict[str, str] | None:
    """The columns of rows that are one message each, those of their order included; None if most
    are none or nothing orders them."""
    mapped = {part: columns[part] for part in ("role", "content") if part in columns}
    if "turns" in columns:  # the recipe says that a row has many
        return None
    if len(mapped) == 2:
        return {**mapped, **chain_columns(rows, columns)}
    if sum(all(name in row for name in _TAVERN) for row in rows) * 2 > len(rows):
        return {"role": _TAVERN[0], "content": _TAVERN[1]}
    keys = [
        keys
        for row in rows
        if (keys := turn_keys(row)) and (row[keys[0]] in roles or is_role(row[keys[0]]))
    ]
    links = chain_columns(rows, columns)
    if 2 * len(keys) <= len(rows) or not links:
        return None
    return {"role": keys[0][0], "content": keys[0][1], **links}


def chain_columns(rows: Sequence[Row], columns: Mapping[str, str]) -> dict[str, str]:
    """The columns by which rows follow each other, by part: id and parent, or conversation and
    turn. Empty where none do."""
    mapped = {part: columns[part] for part in PARTS if part in columns}
    if "parent" in mapped or "conversation" in mapped:
        return {"id": _column(rows, _IDS) or "id", **mapped} if "parent" in mapped else mapped
    taken = set(columns.values())
    parent, ident = _column(rows, _PARENTS, taken), _column(rows, _IDS, taken)
    if (
        parent
        and ident
        and any(key_of(row.get(parent)) for row in rows)
        and _are_unique([key_of(row.get(ident)) for row in rows])
    ):
        return {"id": ident, "parent": parent}
    conversation = _column(rows, _CONVERSATIONS, taken)
    if conversation is None or any(isinstance(row.get(conversation), list | dict) for row in rows):
        return {}
    number = _column(rows, _NUMBERS, taken) or _column(rows, _TIMES, taken)
    repeats = not _are_unique([key_of(row.get(conversation)) for row in rows])
    is_message = any(
        turn_keys(row)
        and is_role(str(row[next(key for key in ROLE_KEYS if isinstance(row.get(key), str))]))
        for row in rows
    )
    if number is None:
        return {"conversation": conversation} if repeats and is_message else {}
    if repeats or (
        number in _folded(_NUMBERS, rows) and len({key_of(row.get(number)) for row in rows}) > 1
    ):
        return {"conversation": conversation, "turn": number}
    return {}


def _folded(names: Sequence[str], rows: Sequence[Row]) -> set[str]:
    return {column for row in rows for column in row if _fold(column) in names}


def _fold(column: str) -> str:
    return str(column).strip().lower().replace(" ", "_").replace("-", "_")


def _column(rows: Sequence[Row], names: Sequence[str], taken: set[str] | None = None) -> str | None:
    """The column of the sample that has the first of these names."""
    columns = {
        _fold(column): column
        for row in rows
        for column in row
        if column not in (taken or ()) and _fold(column) not in CONTENT_KEYS
    }
    return next((columns[name] for name in names if name in columns), None)


def _are_unique(keys: Sequence[str]) -> bool:
    filled = [key for key in keys if key]
    return bool(filled) and len({*filled}) == len(filled)


def key_of(value: Any) -> str:
    """An id as one text, however a table writes it: 19, 19.0, "19.0". "" for none."""
    if value is None or isinstance(value, bool | list | dict):
        return ""
    text = str(value).strip()
    if _FLOAT.fullmatch(text):
        text = text.partition(".")[0]
    return "" if text.lower() in _NONE else text


def order_of(value: Any) -> float | str | None:
    """What rows are sorted by: a number where it is one, else its text (times as ISO writes them
    sort as text)."""
    try:
        return float(value)
    except (TypeError, ValueError):
        return None if value is None else str(value)
