"""What is asked: the user's turns of a file, each after the turns that came before it, with the
answer that the file has."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from serve.client import ChatMessage
from serve.replay import Script, read_scripts


@dataclass(frozen=True)
class Item:
    """One question. `messages` end with it; earlier answers in them are the file's own, so that
    every model is asked the same."""

    messages: tuple[ChatMessage, ...]
    reference: str | None
    columns: dict[str, Any] = field(default_factory=dict, compare=False)
    """What else the file says of its conversation."""
    turn: int = 1

    @property
    def question(self) -> str:
        return str(self.messages[-1].get("content") or "")


def read_items(path: Path, most: int | None = None) -> list[Item]:
    """The questions of a file of conversations (JSON Lines) or of a text with one on each line."""
    items = [item for script in read_scripts(path) for item in _items(script)]
    return items[:most]


def _items(script: Script) -> Sequence[Item]:
    system = script[0].system
    history: list[ChatMessage] = [] if system is None else [{"role": "system", "content": system}]
    items = []
    for number, turn in enumerate(script, start=1):
        history += turn.messages
        items.append(Item(tuple(history), turn.reference, turn.columns, number))
        if turn.reference is None:
            break
        history.append({"role": "assistant", "content": turn.reference})
    return items
