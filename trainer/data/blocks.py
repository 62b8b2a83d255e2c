"""Anthropic's content blocks as messages in OpenAI's form: thinking, text, tool_use and
tool_result. Light."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from trainer.data.formats_turns import Message

_BLOCKS = ("thinking", "redacted_thinking", "tool_use", "tool_result")


def unblocked(messages: list[Message]) -> tuple[list[Message], Sequence[int]]:
    """The messages, those of blocks taken apart, and for each which of the given ones it comes
    from."""
    if list not in [type(message["content"]) for message in messages]:
        return messages, range(len(messages))
    flat: list[Message] = []
    places: list[int] = []
    names: dict[str, str] = {}
    for index, message in enumerate(messages):
        parts = _taken_apart(message, names) if _has_blocks(message["content"]) else [message]
        flat += parts
        places += [index] * len(parts)
    return flat, places


def _has_blocks(content: Any) -> bool:
    return isinstance(content, list) and any(
        isinstance(block, dict) and block.get("type") in _BLOCKS for block in content
    )


def _taken_apart(message: Message, names: dict[str, str]) -> list[Message]:
    """An answer with its thoughts and calls, or the results of tools and after them what the user
    says. `names` are the tools by call."""
    thoughts: list[str] = []
    calls: list[dict[str, Any]] = []
    results: list[Message] = []
    other_blocks: list[Any] = []
    for block in message["content"]:
        match block:
            case {"type": "thinking", "thinking": str(thought)}:
                thoughts.append(thought)
            case {"type": "redacted_thinking"}:
                pass
            case {"type": "tool_use", "name": str(name), "input": dict(arguments)}:
                call_id = str(block.get("id") or f"call_{len(names)}")
                names[call_id] = name
                calls.append(
                    {
                        "id": call_id,
                        "type": "function",
                        "function": {"name": name, "arguments": arguments},
                    }
                )
            case {"type": "tool_result", "tool_use_id": str(call_id)}:
                results.append(_result(block.get("content"), call_id, names))
            case _:
                other_blocks.append(block)
    remainder = {**message, "content": _plain(other_blocks)}
    if thoughts:
        remainder["reasoning_content"] = "\n\n".join(thoughts)
    if calls:
        remainder["tool_calls"] = calls
    return (
        [*results, remainder]
        if remainder["content"] or thoughts or calls or not results
        else results
    )


def _result(content: Any, call_id: str, names: dict[str, str]) -> Message:
    text = _plain(content) if isinstance(content, list) else content
    message: Message = {
        "role": "tool",
        "content": "" if text is None else text,
        "tool_call_id": call_id,
    }
    if isinstance(text, dict):
        message["content"] = json.dumps(text, ensure_ascii=False)
    return {**message, "name": names[call_id]} if call_id in names else message


def _plain(blocks: list[Any]) -> Any:
    """Text blocks as text; others are left for the policy on content."""
    texts = [
        block.get("text")
        for block in blocks
        if isinstance(block, dict) and block.get("type") == "text"
    ]
    return "\n".join(str(text) for text in texts) if len(texts) == len(blocks) else blocks
