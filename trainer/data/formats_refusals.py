"""Layouts that are known and not read, by a declared table: what their rows are, and what to do.
Light."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from trainer.data.formats_exports import answers_of, has_keys, is_bench, objects_in, request_of
from trainer.data.formats_pairs import is_unclear
from trainer.data.formats_turns import decoded

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Refusal:
    """A layout that is known and not read: `title` says what the rows are, `remedy` what to do."""

    title: str
    fits: Callable[[Row], bool]
    remedy: str


def refusal_of(value: Row) -> Refusal | None:
    """The layout that a row is in, if it is one that is refused."""
    return next((refusal for refusal in REFUSALS if refusal.fits(value)), None)


_SAY = (
    'Say who the assistant is: [format] format = "transcript", {}speakers = {{Anna ='
    ' "assistant", others = "user"}}.'
)
_WHO = (
    "Decide whose words the assistant should learn, and write each conversation as a row:"
    ' {"messages": [{"role": "user", "content": ...}, ...]}.'
)


def _has_items(*keys: str) -> Callable[[Row], bool]:
    """Tells rows of messages that have these keys."""
    return lambda row: any(has_keys(item, *keys) for item in objects_in(row.get("messages")))


def _is_request(row: Row) -> bool:
    return (
        bool(objects_in(request_of(row).get("messages")))
        and not answers_of(row)
        and "input" not in row
    )


def _has_choices(row: Row) -> bool:
    """Whether a row holds what the API answers, or a response has that inside."""
    response = decoded(row.get("response", row))
    body = decoded(response.get("body", response)) if isinstance(response, dict) else None
    return isinstance(body, dict) and any(
        has_keys(choice, "message") or has_keys(choice, "text")
        for choice in objects_in(body.get("choices"))
    )


def _is_batch(row: Row) -> bool:
    """Whether each column holds a list, all of one length."""
    lists = [
        column
        for column in row.values()
        if isinstance(column, list) and column and isinstance(column[0], str)
    ]
    return len(lists) == len(row) > 1 and len({len(column) for column in lists}) == 1


def _is_claude_code(row: Row) -> bool:
    """Whether a row is of a session of Claude Code: a message in an envelope, or what it notes of
    the session's files and title."""
    return (
        (has_keys(row, "sessionId", "type") and ("message" in row or "uuid" in row))
        or has_keys(row, "leafUuid", "summary")
        or row.get("type") in ("file-history-snapshot", "queue-operation")
    )


REFUSALS: tuple[Refusal, ...] = (
    Refusal(
        "a session of Claude Code",
        _is_claude_code,
        "It lacks the system prompt and the tools that the model had, so nobody could ask for"
        ' these answers again. Write what the model should learn as rows: {"messages": [...],'
        ' "tools": [...]}.',
    ),
    Refusal(
        "two answers, and a number that does not show which of them is better",
        is_unclear,
        "Write the better answer as `chosen` and the other as `rejected`, or replace the number"
        " with the name of the better answer's column.",
    ),
    Refusal("a Telegram chat between people", _has_items("date", "from_id"), _SAY.format("")),
    Refusal(
        "an export of all Telegram chats",
        lambda row: has_keys(row.get("chats"), "list"),
        "Export a single chat as JSON.",
    ),
    Refusal(
        "a Discord channel, between people",
        lambda row: has_keys(row, "guild", "channel", "messages"),
        _WHO,
    ),
    Refusal(
        "MT-Bench questions without answers",
        is_bench,
        "Luthier trains on answers; these questions are for testing a trained model.",
    ),
    Refusal(
        "Discord messages between people",
        lambda row: has_keys(row, "AuthorID", "Author", "Content"),
        _WHO,
    ),
    Refusal(
        "Slack messages between people",
        lambda row: row.get("type") == "message" and has_keys(row, "ts", "text"),
        _WHO,
    ),
    Refusal(
        "a Messenger or Instagram chat between people",
        _has_items("sender_name", "timestamp_ms"),
        _SAY.format('columns = {turns = "messages", role = "sender_name", content = "content"}, '),
    ),
    Refusal(
        "a KoboldAI story", lambda row: has_keys(row, "actions", "prompt", "gamestarted"), _WHO
    ),
    Refusal(
        "requests to the OpenAI API without the answers",
        _is_request,
        "Luthier trains on answers: join the requests with the batch's output by custom_id, as"
        " rows of `request` and `response`.",
    ),
    Refusal(
        "answers from the OpenAI API without the requests",
        _has_choices,
        "The questions are in the batch's input: join both by custom_id, as rows of `request` and"
        " `response`.",
    ),
    Refusal(
        "parallel lists in each row (a batch, or datasets' to_dict)",
        _is_batch,
        'Write one conversation per row: DataFrame.to_json(path, orient="records", lines=True),'
        " or Dataset.to_json(path).",
    ),
)
