"""A chat as a file: Markdown to read, JSONL to compute with or train on."""

from __future__ import annotations

import json
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from jobs.errors import LuthierError
from jobs.files import write_atomic
from tui.chat_session import ChatSession, Complete, Conversation, Failed, Turn
from tui.chat_text import figures_line, settings_line

SUFFIXES = (".md", ".jsonl")


def default_name() -> str:
    return time.strftime("chat-%Y%m%d-%H%M%S.md")


def export(session: ChatSession, path: Path) -> None:
    """Write the chat; the suffix says in which form. An existing file is never replaced."""
    if path.suffix not in SUFFIXES:
        raise LuthierError("The name says no format", f"{path.name} ends neither in .md nor in .jsonl.", "Let it end in one of them.")
    if path.exists():
        raise LuthierError("The file exists", f"{path} is already there.", "Choose another name.")
    if not path.parent.is_dir():
        raise LuthierError("The folder does not exist", f"There is no {path.parent}.", "Choose a folder that exists.")
    try:
        write_atomic(path, markdown(session) if path.suffix == ".md" else jsonl(session))
    except OSError as error:
        raise LuthierError("The chat was not written", f"{path}: {error.strerror}.", "Choose another place.") from error


def markdown(session: ChatSession) -> str:
    """Each prompt with the answers below it, one heading a model."""
    turns = sorted((turn for side in session.sides for turn in side.turns), key=lambda turn: turn.id)
    lines = ["# Chat", ""]
    prompt: tuple[int, str] | None = None
    for turn in turns:
        if prompt != (turn.id, turn.prompt):
            prompt = (turn.id, turn.prompt)
            lines += [f"## {turn.id}", "", *(f"> {line}" for line in turn.prompt.split("\n")), ""]
        lines += [f"### {turn.model}", "", turn.text or "(no answer)", "", f"*{_how(turn)}*", ""]
    return "\n".join(lines)


def jsonl(session: ChatSession) -> str:
    """One conversation a line for each side, in the form that training reads; how each answer came stands beside it."""
    return "".join(
        json.dumps(_conversation(side), ensure_ascii=False) + "\n" for side in session.sides if any(turn.answered for turn in side.turns)
    )


def _conversation(side: Conversation) -> dict[str, Any]:
    answered = [turn for turn in side.turns if turn.answered]
    system = side.turns[-1].settings.system
    messages = [{"role": "system", "content": system}] if system else []
    for turn in answered:
        messages += [{"role": "user", "content": turn.prompt}, {"role": "assistant", "content": turn.text}]
    return {"messages": messages, "model": side.turns[-1].model, "answers": [_answer(turn) for turn in answered]}


def _answer(turn: Turn) -> dict[str, Any]:
    figures = asdict(turn.state.figures) if isinstance(turn.state, Complete) else {"reason": "stopped"}
    return {"turn": turn.id, "model": turn.model, "sampling": asdict(turn.settings.sampling), **figures}


def _how(turn: Turn) -> str:
    state = turn.state
    ended = f"{state.error.title}: {state.error.message}" if isinstance(state, Failed) else figures_line(turn)
    return f"{ended} ({settings_line(turn.settings)})"
