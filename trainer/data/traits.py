"""What conversations have that chat templates differ in, so that a template's warnings are about
the data at hand. Light."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from trainer.data.formats_turns import Message

# The template's checks that concern only conversations of a trait, by the check's name; and the
# trait in words.
WORDS = {
    "system": "have a system prompt",
    "history": "have several answers",
    "reasoning": "have reasoning",
    "tools": "have tools",
}
_REASONING = ("reasoning_content", "thinking")


def traits_of(messages: list[Message], tools: list[dict[str, Any]] | None) -> list[str]:
    traits = ["system"] if messages[0]["role"] == "system" else []
    if len(messages) > 3:
        traits.append("history")
    with_more_keys = [message for message in messages if len(message) > 2]
    if with_more_keys and any(key in message for message in with_more_keys for key in _REASONING):
        traits.append("reasoning")
    if tools or (with_more_keys and any("tool_calls" in message for message in with_more_keys)):
        traits.append("tools")
    return traits


def concerning(name: str, detail: str, traits: Mapping[str, int]) -> str | None:
    """A check's warning with the number of conversations that it concerns; None if there is
    none."""
    if name not in WORDS:
        return detail
    return f"{detail} {traits[name]:,} conversations {WORDS[name]}." if traits.get(name) else None
