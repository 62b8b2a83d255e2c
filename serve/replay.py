"""Prompts that were written before: a file of them, or conversations whose user turns are asked
again beside the answers that they have."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from jobs.luthier_error import LuthierError
from models.conversations import read_conversations
from serve.client import ChatMessage


@dataclass(frozen=True)
class ScriptTurn:
    """The messages to send next, of which the last is the prompt. `system` None leaves the chat's
    own system prompt."""

    messages: tuple[ChatMessage, ...]
    reference: str | None = None
    system: str | None = None
    tools: tuple[dict[str, Any], ...] = ()
    source: dict[str, Any] | None = None
    columns: dict[str, Any] = field(default_factory=dict)
    """What else the file says of the conversation."""

    @property
    def prompt(self) -> str:
        return str(self.messages[-1].get("content") or "")


Script = tuple[ScriptTurn, ...]
"""One conversation, turn by turn."""


def read_scripts(path: Path) -> list[Script]:
    """A script for each conversation: JSON Lines with `messages`, or a text with a prompt on each
    line."""
    if path.suffix in (".txt", ".md", ""):
        return _from_text(path)
    # a conversation may have several samples, which differ only in what they train
    scripts: dict[str, Script] = {}
    for conversation in read_conversations(path):
        tools = tuple(conversation.tools or ())
        turns = _script(conversation.messages, tools, conversation.source)
        script = tuple(replace(turn, columns=conversation.columns) for turn in turns)
        if script:
            scripts.setdefault(json.dumps(conversation.messages, sort_keys=True), script)
    if not scripts:
        message = f"No conversation in {path} has a user turn."
        raise LuthierError(
            "Nothing to ask",
            message,
            'A line is {"messages": [{"role": "user", "content": "..."}]}.',
        )
    return list(scripts.values())


def has_references(scripts: list[Script]) -> bool:
    return any(turn.reference is not None for script in scripts for turn in script)


def _script(
    messages: list[ChatMessage], tools: tuple[dict[str, Any], ...], source: dict[str, Any]
) -> Script:
    """Each assistant message ends a turn; messages of the user that nobody answered are the last
    turn."""
    system = next(
        (str(message["content"]) for message in messages if message["role"] == "system"), None
    )
    turns: list[ScriptTurn] = []
    asked: list[ChatMessage] = []
    for message in messages:
        if message["role"] == "assistant" and asked:
            turns.append(ScriptTurn(tuple(asked), str(message["content"]), system, tools, source))
            asked = []
        elif message["role"] in ("user", "tool"):
            asked.append({key: value for key, value in message.items() if key != "weight"})
    if asked:
        turns.append(ScriptTurn(tuple(asked), None, system, tools, source))
    return tuple(turns)


def _from_text(path: Path) -> list[Script]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (FileNotFoundError, IsADirectoryError, PermissionError) as error:
        raise LuthierError(
            "File not readable", f"{path}: {error.strerror}.", "Check the path."
        ) from None
    except UnicodeDecodeError as error:
        raise LuthierError(
            "Not UTF-8", f"{path}, byte {error.start}.", "Convert the file to UTF-8."
        ) from None
    prompts = [(row, line.strip()) for row, line in enumerate(lines) if line.strip()]
    if not prompts:
        raise LuthierError(
            "Empty file", f"{path} has no prompts.", "Write one prompt on each line."
        )
    return [
        (
            ScriptTurn(
                ({"role": "user", "content": prompt},), source={"file": str(path), "row": row}
            ),
        )
        for row, prompt in prompts
    ]
