"""Rows of columns and lists of turns as conversations, a function a format. Light."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from trainer.data.blocks import unblocked
from trainer.data.column_names import kind_of
from trainer.data.formats_text import continued, spoken_turns, transcript
from trainer.data.formats_turns import (
    Converted,
    Message,
    RowProblem,
    decoded,
    message_of,
    role_of,
    tool_names,
    tools_of,
    turn_keys,
    turn_list,
    unknown_keys,
)
from trainer.data.judgements import Judgement, shortened
from trainer.data.row import Row

# "\n\n###\n\n" and "->" at a prompt's end, " END" and "###" at a completion's: OpenAI's guide to
# its older models recommended them.
_SEPARATOR = re.compile(r"(?:\s*\n#{3,}|\s*->)\s*\Z")
_STOP_SEQUENCE = re.compile(r"(?:\s+END|\s*#{3,}|\s*<\|endoftext\|>)\s*\Z")


def turns(row: Row) -> Converted:
    items = turn_list(row.need("turns"))
    if items is None:
        raise RowProblem("other_format", f"`{row.mapping.columns['turns']}` is not a list of turns")
    tools = tools_of(row.get("tools"))
    keys = (row.mapping.columns["role"], row.mapping.columns["content"])
    return _placed(row.system(), _messages(items, keys, row, tools), tools)


def _placed(
    before: list[Message], messages: list[Message], tools: list[dict[str, Any]] | None
) -> Converted:
    """Messages of a list after those that columns make, each with its number in the list."""
    flat, places = unblocked(messages)
    if not before and len(flat) == len(messages):
        return Converted(flat, tools)
    return Converted([*before, *flat], tools, places=(*[-1] * len(before), *places))


def _messages(
    items: list[Any], keys: tuple[str, str], row: Row, tools: list[dict[str, Any]] | None
) -> list[Message]:
    names, roles = tool_names(tools), row.mapping.roles
    messages: list[Message] = []
    for index, item in enumerate(items):
        message = message_of(item, keys, roles, names, index)
        messages.append(message)
        if len(item) > 2:
            row.unknown += unknown_keys(item, keys, index)
            if message["role"] == "assistant":
                _judge(item, keys, message, row, index)
    return messages


def judges_itself(item: Mapping[str, Any], role_key: str) -> bool:
    """Whether an item's keys that are named like a judgement judge what it says: an answer's do."""
    return role_of(str(item.get(role_key)), {}) == "assistant"


def _judge(
    item: Mapping[str, Any], keys: tuple[str, str], message: Message, row: Row, index: int
) -> None:
    """An answer that its own keys mark as bad is not trained; a key that may judge it and cannot be
    read is for the policy on that."""
    for key, value in item.items():
        kind = kind_of(key) if key not in keys and value is not None else None
        name = f"{row.mapping.columns.get('turns', 'messages')}[].{key}"
        if kind not in ("verdict", "score") or name in row.mapping.ignore:
            continue
        verdict = (
            Judgement(key).verdict(value) if kind == "verdict" or isinstance(value, bool) else None
        )
        if verdict is False:
            message["weight"] = 0
            row.repairs.append("rejected_turn")
        elif verdict is None:
            problem = (
                f"message {index} has `{key}` {shortened(value)}, which may be a verdict on it"
            )
            row.met.append(
                (
                    "unread",
                    (
                        f"{problem}: give bad answers the weight 0, or ignore the column: ignore"
                        f' = ["{name}"]'
                    ),
                )
            )


def _said(value: Any, role: str, row: Row, tools: list[dict[str, Any]] | None) -> list[Message]:
    """A text as one message, a message or a list of them as they are."""
    if isinstance(value, str) and value.lstrip()[:1] not in ("[", "{"):
        return [{"role": role, "content": value}]
    items = decoded(value)
    items = [items] if isinstance(items, dict) and turn_keys(items) else items
    keys = item_keys(items) if isinstance(items, list) else None
    return (
        [{"role": role, "content": value}] if keys is None else _messages(items, keys, row, tools)
    )


def prompt_completion(row: Row) -> Converted:
    tools = tools_of(row.get("tools"))
    prompt, completion = row.asked("prompt"), row.answer("completion")
    if (
        isinstance(prompt, str)
        and isinstance(completion, str)
        and (marked := continued(prompt, completion)) is not None
    ):
        return marked._replace(
            messages=[*row.system(), *row.history(), *marked.messages], tools=tools
        )
    if isinstance(prompt, str) and isinstance(completion, str):
        prompt, completion = _without_separators(prompt, completion, row)
    asked, answered = _said(prompt, "user", row, tools), _said(completion, "assistant", row, tools)
    return _placed([*row.system(), *row.history()], [*asked, *answered], tools)


def _without_separators(prompt: str, completion: str, row: Row) -> tuple[str, str]:
    """The texts without what older completion models needed to tell prompt, answer and end apart: a
    chat template does that."""
    question = _SEPARATOR.sub("", prompt)
    if question == prompt or not question:
        return prompt, completion
    row.repairs.append("separators")
    return question, _STOP_SEQUENCE.sub("", completion).removeprefix(" ")


def question_answer(row: Row) -> Converted:
    asked, answered = (
        {"role": "user", "content": row.asked("question")},
        {"role": "assistant", "content": row.answer("answer")},
    )
    return Converted([*row.system(), *row.history(), asked, answered])


def alpaca(row: Row) -> Converted:
    instruction, added = row.asked("instruction"), row.get("input")
    if isinstance(instruction, str) and isinstance(added, str) and added.strip():
        instruction = f"{instruction}\n\n{added}" if instruction.strip() else added
    asked, answered = (
        {"role": "user", "content": instruction},
        {"role": "assistant", "content": row.answer("output")},
    )
    return Converted([*row.system(), *row.history(), asked, answered])


def preference(row: Row) -> Converted:
    """The chosen side; it may repeat the prompt, as a list of messages or as text ("Human: ...
    Assistant: ...")."""
    tools, chosen_value = tools_of(row.get("tools")), row.answer("chosen")
    prompt = None if row.get("prompt") is None else row.asked("prompt")
    if prompt is None and isinstance(chosen_value, str):
        return transcript(spoken_turns(chosen_value, ("Human", "User", "Assistant", "System")), {})
    if (
        isinstance(prompt, str)
        and isinstance(chosen_value, str)
        and (marked := continued(prompt, chosen_value)) is not None
    ):
        return marked._replace(
            messages=[*row.system(), *row.history(), *marked.messages], tools=tools
        )
    answer = _said(chosen_value, "assistant", row, tools)
    asked = [] if prompt is None else _said(prompt, "user", row, tools)
    repeats_prompt = any(message["role"] == "user" for message in answer)
    if row.get("rejected") == row.get("chosen"):
        row.met.append(("rejected", "the chosen and the rejected answer are equal"))
    return _placed(
        [*row.system(), *row.history()], [*([] if repeats_prompt else asked), *answer], tools
    )


def after_context(messages: list[Message], context: Mapping[str, str], row: Row) -> list[Message]:
    """Context before the text of the user's first message."""
    index = next(
        (index for index, message in enumerate(messages) if message["role"] == "user"), None
    )
    if index is None or not isinstance(messages[index]["content"], str):
        row.met.append(("unread", f"there is no user text to put after `{next(iter(context))}`"))
        return messages
    content = "\n\n".join((*context.values(), messages[index]["content"]))
    return [*messages[:index], {**messages[index], "content": content}, *messages[index + 1 :]]


def item_keys(
    items: Sequence[Any], columns: Mapping[str, str] | None = None
) -> tuple[str, str] | None:
    columns = columns or {}
    role, content = columns.get("role"), columns.get("content")
    for item in items[:8]:
        if role and content and isinstance(item, dict) and role in item:
            return role, content
        if keys := turn_keys(item):
            return role or keys[0], content or keys[1]
    return None
