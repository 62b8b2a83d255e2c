"""Conversations as programs export and log them, by a declared table: those that are read, and
those that are refused by name."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeGuard

from trainer.data.formats_pairs import better_answer, comparison_of, own_columns
from trainer.data.formats_text import FIRST, OTHERS, transcript
from trainer.data.formats_turns import (
    TURN_COLUMNS,
    Converted,
    Message,
    RowProblem,
    decoded,
    message_of,
    role_of,
    tools_of,
    turn_keys,
)

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Export:
    """A layout that is read."""

    name: str
    """As the recipe says it."""
    title: str
    """What the rows are, in words."""
    fits: Callable[[Row], bool]
    """Tells a row of it."""
    read: Callable[[Row], Converted]
    """Gives the row's conversation."""
    columns: Callable[[Row], Iterable[str]] = lambda row: row
    """The row's columns that are the layout's own, beside which others may stand; all of them where
    nothing is said."""


def export_of(value: Row) -> Export | None:
    """The export that a row comes from."""
    return (
        None
        if is_bench(value)
        else next((export for export in EXPORTS if export.fits(value)), None)
    )


def objects_in(value: Any) -> list[dict[str, Any]]:
    """The items of a list of objects; [] for anything else."""
    value = decoded(value)
    return (
        value
        if isinstance(value, list) and value and all(isinstance(item, dict) for item in value)
        else []
    )


def has_keys(value: Any, *keys: str) -> TypeGuard[dict[str, Any]]:
    return isinstance(value, dict) and all(key in value for key in keys)


def _messages(items: Sequence[Any]) -> list[Message]:
    keys = next((keys for item in items if (keys := turn_keys(item))), ("role", "content"))
    return [message_of(item, keys, {}, (), index) for index, item in enumerate(items)]


# ChatGPT: a tree of messages; what was last on the screen is the way from `current_node` up.
def _chatgpt(value: Row) -> Converted:
    nodes = value["mapping"]
    if not isinstance(nodes, dict):
        raise RowProblem("other_format", "`mapping` is not an object")
    path, node = [], value.get("current_node") or _last_node(nodes)
    while isinstance(node, str) and isinstance(nodes.get(node), dict) and node not in path:
        path.append(node)
        node = nodes[node].get("parent")
    messages: list[Message] = []
    repairs = ["other_branches"] * any(
        _is_talk(node) for name, node in nodes.items() if name not in path
    )
    for name in reversed(path):
        message = nodes[name].get("message")
        if _is_talk(nodes[name]):
            parts = message["content"].get("parts") or []
            texts = all(isinstance(part, str) for part in parts)
            content = "\n".join(parts) if texts else [_part(part) for part in parts]
            messages.append({"role": role_of(message["author"]["role"], {}), "content": content})
        elif has_keys(message, "author") and message["author"].get("role") in ("tool", "assistant"):
            repairs.append("left_out")
    return Converted(messages, None, tuple(dict.fromkeys(repairs)))


def _part(part: Any) -> dict[str, Any]:
    """A part of a message beside others: text, or what `image_asset_pointer` and its like point
    to."""
    if isinstance(part, dict):
        return {"type": str(part.get("content_type", "image")).partition("_")[0]}
    return {"type": "text", "text": str(part)}


def _last_node(nodes: dict[str, Any]) -> str | None:
    node = next(
        (
            name
            for name, node in nodes.items()
            if isinstance(node, dict) and node.get("parent") is None
        ),
        None,
    )
    visited = set[str]()
    while (
        node is not None
        and node not in visited
        and (children := (nodes.get(node) or {}).get("children"))
    ):
        visited.add(node)
        node = children[-1]
    return node


def _is_talk(node: Any) -> bool:
    """Whether a node is something that somebody said to be seen: no empty one, no call of a tool,
    no reasoning, no hidden context."""
    message = node.get("message") if isinstance(node, dict) else None
    if (
        not has_keys(message, "author", "content")
        or not isinstance(message["content"], dict)
        or not isinstance(message["author"], dict)
    ):
        return False
    if (
        message["author"].get("role") not in ("system", "user", "assistant")
        or message.get("recipient", "all") != "all"
    ):
        return False
    hidden = (message.get("metadata") or {}).get("is_visually_hidden_from_conversation")
    is_text = message["content"].get("content_type", "text") in ("text", "multimodal_text")
    return (
        is_text
        and not hidden
        and any(part not in ("", None) for part in message["content"].get("parts") or [])
    )


# Claude: messages in order; newer exports say which message each one answers.
def _claude(value: Row) -> Converted:
    items = value["chat_messages"]
    if not isinstance(items, list) or not all(
        isinstance(item, dict) and isinstance(item.get("sender"), str) for item in items
    ):
        raise RowProblem("not_a_message", "an item of `chat_messages` does not say who speaks")
    path = _claude_path(items)
    repairs = ["other_branches"] * (len(path) < len(items))
    messages: list[Message] = []
    for item in path:
        blocks = objects_in(item.get("content"))
        texts = [str(block.get("text", "")) for block in blocks if block.get("type") == "text"] or [
            str(item.get("text") or "")
        ]
        attached = [
            str(attachment["extracted_content"])
            for attachment in objects_in(item.get("attachments"))
            if attachment.get("extracted_content")
        ]
        message: Message = {
            "role": role_of(item["sender"], {}),
            "content": "\n\n".join([*attached, *texts]).strip(),
        }
        if thoughts := [str(block["thinking"]) for block in blocks if block.get("thinking")]:
            message["reasoning_content"] = "\n\n".join(thoughts)
        if item.get("files") or any(
            block.get("type") not in ("text", "thinking") for block in blocks
        ):
            repairs.append("left_out")
        messages.append(message)
    return Converted(messages, None, tuple(dict.fromkeys(repairs)))


def _claude_path(items: list[dict[str, Any]]) -> list[dict[str, Any]]:
    by_id = {item["uuid"]: item for item in items if isinstance(item.get("uuid"), str)}
    if len(by_id) < len(items) or not any(
        item.get("parent_message_uuid") in by_id for item in items
    ):
        return items
    path: list[dict[str, Any]] = []
    item: dict[str, Any] | None = items[-1]
    while item is not None and item not in path:
        path.append(item)
        item = by_id.get(str(item.get("parent_message_uuid")))
    return path[::-1]


# OpenAssistant: each message has its replies; of several, the one ranked best is followed.
def _oasst_tree(value: Row) -> Converted:
    messages: list[Message] = []
    node, has_other_replies = value["prompt"], False
    while isinstance(node, dict):
        word = node.get("role")
        if not isinstance(word, str):
            raise RowProblem("not_a_message", f"message {len(messages)} of the tree has no `role`")
        messages.append({"role": role_of(word, {}), "content": node.get("text")})
        replies = [
            reply
            for reply in node.get("replies") or []
            if isinstance(reply, dict) and not reply.get("deleted")
        ]
        has_other_replies = has_other_replies or len(replies) > 1
        node = min(
            replies,
            key=lambda reply: _rank(reply, worst=len(replies)),
            default=None,
        )
    return Converted(messages, None, ("other_branches",) * has_other_replies)


def _rank(reply: Row, worst: int) -> float:
    """Of a reply to others; tables write it with a fraction."""
    rank = reply.get("rank")
    return rank if isinstance(rank, int | float) and rank == rank else worst


# Requests to an API with what came back, as logs and traces keep them.
def request_of(value: Row) -> Row:
    request = next(
        (decoded(value[key]) for key in ("request", "body", "kwargs", "input") if key in value),
        None,
    )
    request = decoded(request.get("body", request)) if isinstance(request, dict) else request
    request = {"messages": request} if isinstance(request, list) else request
    return request if isinstance(request, dict) else {}


def _asked(request: Row) -> list[Any]:
    """The messages of a request."""
    if isinstance(request.get("prompt"), str):
        return [{"role": "user", "content": request["prompt"]}]
    messages = objects_in(request.get("messages"))
    system = request.get("system")
    return [{"role": "system", "content": system}, *messages] if messages and system else messages


def answers_of(value: Row) -> list[Any]:
    """The messages of a response: of OpenAI's first choice, of Anthropic's, or as traces have
    them."""
    response = decoded(value.get("response", value.get("output")))
    response = decoded(response.get("body", response)) if isinstance(response, dict) else response
    response = response.get("choices", response) if isinstance(response, dict) else response
    if isinstance(response, str) and response:
        return [{"role": "assistant", "content": response}]
    first = response if objects_in(response) else [response]
    if has_keys(first[0], "message") or has_keys(first[0], "text"):
        first = first[:1]  # choices
    items = [item.get("message", item) if isinstance(item, dict) else item for item in first]
    items = [
        (
            {"role": "assistant", "content": item["text"]}
            if has_keys(item, "text") and "role" not in item
            else item
        )
        for item in items
    ]
    return items if items and all(turn_keys(item) for item in items) else []


def _logged(value: Row) -> Converted:
    request, answers = request_of(value), answers_of(value)
    asked = _asked(request)
    if not asked or not answers:
        raise RowProblem(
            "other_format", "the row lacks the request's messages or an answer to them"
        )
    return Converted(_messages([*asked, *answers]), tools_of(request.get("tools")))


# Two models side by side, and who won.
ARENA = ("conversation_a", "conversation_b", "winner")
_SIDES = {
    "model_a": "conversation_a",
    "a": "conversation_a",
    "model_b": "conversation_b",
    "b": "conversation_b",
}


def _arena(value: Row) -> Converted:
    side = _SIDES.get(str(value["winner"]).strip().lower())
    if side is None:
        raise RowProblem(
            "no_winner",
            f"the winner is {str(value['winner'])[:40]!r}: neither conversation is better",
        )
    items = decoded(value[side])
    if not objects_in(items):
        raise RowProblem("other_format", f"`{side}` is not a list of messages")
    return Converted(_messages(items))


# MOSS: an object of turns, each with all that stands in its template; or pairs with the same signs.
_MOSS_COLUMNS = ("chat", "conversation")
_MOSS_SIGN = re.compile(r"^\s*<\|[\w ]+\|>:\s*|\s*<eo[a-z]>\s*$")
_MOSS_TOOLS = ("commands", "tool responses")


def _moss_turns(row: Row) -> list[dict[str, str]]:
    """The turns of a row of MOSS, each text by its part in lower case; [] for any other row."""
    for column in _MOSS_COLUMNS:
        items = decoded(row.get(column))
        items = list(items.values()) if isinstance(items, dict) else items
        turns = [
            {str(key).lower(): str(text) for key, text in item.items()}
            for item in objects_in(items)
        ]
        if turns and all(
            "human" in turn and ("moss" in turn or turn["human"].lstrip().startswith("<|Human|>"))
            for turn in turns
        ):
            return turns
    return []


def _moss(row: Row) -> Converted:
    messages: list[Message] = []
    if isinstance(prompt := row.get("meta_instruction"), str) and prompt.strip():
        messages.append({"role": "system", "content": prompt})
    left_out = False
    for number, turn in enumerate(_moss_turns(row)):
        parts = {part: _MOSS_SIGN.sub("", text).strip() for part, text in turn.items()}
        if any(parts.get(part, "None") not in ("", "None") for part in _MOSS_TOOLS):
            raise RowProblem(
                "tool_call",
                f"turn {number} has a command of MOSS: write the row as messages with tool_calls",
            )
        left_out |= parts.get("inner thoughts", "None") not in ("", "None")
        answer = parts.get("moss", parts.get("assistant", ""))
        messages += [
            {"role": "user", "content": parts["human"]},
            {"role": "assistant", "content": answer},
        ]
    return Converted(messages, None, ("left_out",) * left_out)


def _moss_columns(row: Row) -> Iterable[str]:
    return (*_MOSS_COLUMNS, "meta_instruction")


# Questions and answers in pairs: lists of two, or objects with a key for each. A row with columns
# of its own for them has another layout.
_PAIR_COLUMNS = (*TURN_COLUMNS, "history", "chat_history", "chatbot", "pairs", "data", "internal")
_BESIDE_PAIRS = ("visible", "system", "system_prompt")
_PAIR_KEYS = (
    ("human", "assistant"), ("user", "assistant"), ("user", "bot"), ("human", "bot"),
    ("user", "ai"), ("human", "ai"), ("question", "answer"), ("prompt", "response"),
    ("input", "output"), ("instruction", "output"), ("query", "response"), ("prompt", "completion"),
    ("input", "response"), ("instruction", "response"),
)  # fmt: skip
_ASKED = {
    "instruction",
    "prompt",
    "question",
    "query",
    "chosen",
    "input",
    "output",
    "completion",
    "response",
    "answer",
}
# text-generation-webui writes it where a character speaks first
_CONTINUED = "<|BEGIN-VISIBLE-CHAT|>"


def _pairs(value: Row) -> list[tuple[Any, Any]]:
    """The pairs of a row's first list of them; [] if it has none."""
    if _ASKED & value.keys():
        return []
    for column in _PAIR_COLUMNS:
        items = decoded(value.get(column))
        if not isinstance(items, list) or not items:
            continue
        if all(
            isinstance(item, list)
            and len(item) == 2
            and all(text is None or isinstance(text, str) for text in item)
            for item in items
        ):
            return [(item[0], item[1]) for item in items]
        if all(isinstance(item, dict) for item in items) and not turn_keys(items[0]):
            folded = [{str(key).lower(): text for key, text in item.items()} for item in items]
            keys = next(
                (keys for keys in _PAIR_KEYS if all(item.keys() >= set(keys) for item in folded)),
                None,
            )
            if keys is not None:
                return [(item[keys[0]], item[keys[1]]) for item in folded]
    return []


def _paired(value: Row) -> Converted:
    messages: list[Message] = []
    pairs = _pairs(value)
    if not pairs:
        raise RowProblem("history", "the row has no list of pairs of question and answer")
    system = value.get("system") or value.get("system_prompt")
    if isinstance(system, str) and system:
        messages.append({"role": "system", "content": system})
    for asked, answered in pairs:
        if asked not in (None, "", _CONTINUED):
            messages.append({"role": "user", "content": asked})
        if answered not in (None, ""):
            messages.append({"role": "assistant", "content": answered})
    return Converted(messages)


def _history(value: Row) -> list[Any]:
    """Messages under a name that elsewhere means the turns before a question."""
    items = objects_in(value.get("history"))
    return (
        items
        if not _ASKED & value.keys() and items and all(turn_keys(item) for item in items)
        else []
    )


# Texts by turns: who begins is the user.
_TEXT_COLUMNS = (*TURN_COLUMNS, "utterances", "data")


def texts_of(value: Row) -> list[str]:
    if _ASKED & value.keys():
        return []
    for column in _TEXT_COLUMNS:
        items = decoded(value.get(column))
        if (
            isinstance(items, list)
            and len(items) > 1
            and all(isinstance(item, str) for item in items)
        ):
            return items
    return []


def _by_turns(value: Row) -> Converted:
    texts = texts_of(value)
    if not texts:
        raise RowProblem("other_format", "the row has no list of texts")
    speakers = decoded(value.get("speakers"))
    if isinstance(speakers, list) and len(speakers) == len(texts):
        return transcript(
            [(str(name), text) for name, text in zip(speakers, texts, strict=True)],
            {FIRST: "user", OTHERS: "assistant"},
        )
    return Converted(
        [
            {"role": ("user", "assistant")[index % 2], "content": text}
            for index, text in enumerate(texts)
        ]
    )


def _is_tree(row: Row) -> bool:
    nodes = row.get("mapping")
    return (
        isinstance(nodes, dict)
        and bool(nodes)
        and all(has_keys(node, "parent") or has_keys(node, "children") for node in nodes.values())
    )


def _is_logged(row: Row) -> bool:
    names = {str(name).lower() for name in row}
    if any("reject" in name or "prefer" in name for name in names) or (
        "input" in names and "output" not in names
    ):
        return False  # a pair of answers
    return bool(_asked(request_of(row)) and answers_of(row))


def is_bench(row: Row) -> bool:
    return has_keys(row, "question_id", "turns") and bool(texts_of(row))


EXPORTS: tuple[Export, ...] = (
    Export("chatgpt", "an export of ChatGPT", _is_tree, _chatgpt),
    Export(
        "claude",
        "an export of Claude",
        lambda row: isinstance(row.get("chat_messages"), list),
        _claude,
    ),
    Export(
        "oasst_tree",
        "OpenAssistant trees",
        lambda row: has_keys(row.get("prompt"), "text", "replies"),
        _oasst_tree,
    ),
    Export("openai_log", "requests to an API with their responses", _is_logged, _logged),
    Export(
        "arena",
        "two conversations and a winner (LMSYS)",
        lambda row: has_keys(row, *ARENA),
        _arena,
        lambda row: ARENA,
    ),
    Export(
        "comparison",
        "two answers and which one is better",
        lambda row: comparison_of(row) is not None,
        better_answer,
        own_columns,
    ),
    Export("moss", "MOSS turns", lambda row: bool(_moss_turns(row)), _moss, _moss_columns),
    Export(
        "pairs",
        "pairs of question and answer",
        lambda row: bool(_pairs(row)),
        _paired,
        lambda row: (*_PAIR_COLUMNS, *_BESIDE_PAIRS),
    ),
    Export(
        "history",
        "messages in `history`",
        lambda row: bool(_history(row)),
        lambda row: Converted(_messages(_history(row))),
        lambda row: ("history",),
    ),
    Export(
        "texts",
        "alternating texts, the user's first",
        lambda row: bool(texts_of(row)),
        _by_turns,
        lambda row: (*_TEXT_COLUMNS, "speakers"),
    ),
)
BY_NAME = {export.name: export for export in EXPORTS}
