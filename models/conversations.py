"""Conversations: what a row of data is, and reading prompts from JSON Lines."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jobs import foreign_json
from jobs.foreign_json import Damaged
from jobs.luthier_error import LuthierError

ROLES = ("system", "user", "assistant", "tool")
_MESSAGE_KEYS = {"role", "content", "name", "tool_calls", "tool_call_id", "weight"}
_HINT = (
    'A row is an object like {"messages": [{"role": "user", "content": "..."}, {"role":'
    ' "assistant", "content": "..."}, ...]}, one row a line.'
)


@dataclass(frozen=True)
class Conversation:
    """Messages in OpenAI's form, and where they came from (`row` counts from 0)."""

    messages: list[dict[str, Any]]
    file: str
    row: int
    tools: list[dict[str, Any]] | None = None
    columns: dict[str, Any] = field(default_factory=dict, kw_only=True)
    """What else the row says of it, but for lists."""

    @property
    def source(self) -> dict[str, Any]:
        return {"file": self.file, "row": self.row}

    def trained_turns(self) -> list[int]:
        """Indices of the assistant messages whose weight is not 0."""
        return [
            index
            for index, message in enumerate(self.messages)
            if message["role"] == "assistant" and message.get("weight", 1) != 0
        ]


def read_prompts(path: Path) -> Iterator[list[dict[str, Any]]]:
    """The messages of a JSON Lines file of prompts: conversations whose last message waits for an
    answer."""
    for line, where in _lines(path):
        messages = _messages(_json(line, where), where)
        if messages[-1]["role"] not in ("user", "tool"):
            raise LuthierError(
                "Not a prompt",
                f"{where} ends with a message of the role {messages[-1]['role']}.",
                "Leave out the final answer.",
            )
        yield messages


def read_conversations(path: Path) -> Iterator[Conversation]:
    """The rows of a JSON Lines file of conversations, as they are."""
    for row, (line, where) in enumerate(_lines(path)):
        value = _json(line, where)
        messages = _messages(value, where)
        tools = value.get("tools")
        columns = {
            name: column
            for name, column in value.items()
            if name != "tools" and not isinstance(column, list)
        }
        yield Conversation(
            messages,
            str(path),
            row,
            tools if isinstance(tools, list) else None,
            columns=columns,
        )


def _lines(path: Path) -> Iterator[tuple[bytes, str]]:
    """Each line that is not blank, and where it stands (for errors)."""
    has_lines = False
    try:
        with path.open("rb") as file:
            for number, line in enumerate(file, start=1):
                if line.strip():
                    has_lines = True
                    yield line, f"{path}, line {number}"
    except (FileNotFoundError, IsADirectoryError):
        raise LuthierError("No such file", f"{path} does not exist.", "Check the path.") from None
    except PermissionError:
        raise LuthierError(
            "File not readable",
            f"You have no permission to read {path}.",
            "Change its permissions.",
        ) from None
    if not has_lines:
        raise LuthierError("Empty file", f"{path} has no rows.", _HINT)


def _json(line: bytes, where: str) -> Any:
    try:
        return foreign_json.decode(line, where, lenient=True)
    except Damaged as error:
        cut_off = "" if line.endswith(b"\n") else " Was the file cut off?"
        raise LuthierError(
            "Broken JSON", f"{error.message}{cut_off}", "Repair or delete that line."
        ) from None


def _messages(value: Any, where: str) -> list[dict[str, Any]]:
    messages = value.get("messages") if isinstance(value, dict) else None
    if not isinstance(messages, list) or not messages:
        raise LuthierError("Not a conversation", f"{where} has no `messages` list.", _HINT)
    for index, message in enumerate(messages):
        _check_message(message, f"{where}, message {index}")
    return messages


def _check_message(message: Any, where: str) -> None:
    if not isinstance(message, dict):
        raise LuthierError(
            "Not a message", f"{where} is {type(message).__name__}, not an object.", _HINT
        )
    if message.get("role") not in ROLES:
        raise LuthierError(
            "Unknown role",
            f"{where} has the role {message.get('role')!r}.",
            f"Roles are {', '.join(ROLES)}.",
        )
    if not isinstance(message.get("content"), str):
        raise LuthierError(
            "Content is not text",
            f"{where} has {type(message.get('content')).__name__} as content.",
            _HINT,
        )
    unknown = set(message) - _MESSAGE_KEYS
    if unknown:
        raise LuthierError(
            "Unknown key",
            f"{where} has {', '.join(sorted(unknown))}.",
            f"Known: {', '.join(sorted(_MESSAGE_KEYS))}.",
        )
