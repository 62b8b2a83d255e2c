"""A chat as a file: Markdown to read, JSONL to compute with or train on."""

from __future__ import annotations

import json
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from jobs.files import write_atomic
from jobs.luthier_error import LuthierError
from serve.chats.formatting import ending, settings_parts
from serve.chats.store import Chat
from serve.chats.turns import Answer, Complete, Conversation, Given

SUFFIXES = (".md", ".jsonl")


def default_name() -> str:
    return time.strftime("chat-%Y%m%d-%H%M%S.md")


def export(chat: Chat, path: Path) -> None:
    """Write the chat; the suffix says in which form. An existing file is never replaced."""
    if path.suffix not in SUFFIXES:
        raise LuthierError(
            "The file name has no known ending",
            f"{path.name} ends neither in .md nor in .jsonl.",
            "Choose one of these endings.",
        )
    write_new(path, markdown(chat) if path.suffix == ".md" else jsonl(chat))


def write_new(path: Path, text: str) -> None:
    """Write a file that was not there before."""
    if path.exists():
        raise LuthierError("The file exists", f"{path} already exists.", "Choose another name.")
    if not path.parent.is_dir():
        raise LuthierError(
            "The folder does not exist",
            f"{path.parent} does not exist.",
            "Choose a folder that exists.",
        )
    try:
        write_atomic(path, text)
    except OSError as error:
        raise LuthierError(
            "The file was not written", f"{path}: {error.strerror}.", "Choose another location."
        ) from error


def markdown(chat: Chat) -> str:
    """Each prompt with the answers below it, one heading a model."""
    lines = ["# Chat", ""]
    for turn in chat.turns:
        lines += [f"## {turn.number}", "", *(f"> {line}" for line in turn.prompt.split("\n")), ""]
        for answer in (
            answer for pane in chat.panes for answer in pane.answers if answer.turn.id == turn.id
        ):
            lines += [
                f"### {answer.speaker.label}",
                "",
                *_said(answer),
                f"*{ending(answer)} ({' · '.join(settings_parts(answer.turn.settings))})*",
                "",
            ]
    return "\n".join(lines)


def _said(answer: Answer) -> list[str]:
    reasoning = "".join(answer.reasoning).strip()
    lines = (
        ["<details><summary>reasoning</summary>", "", reasoning, "", "</details>", ""]
        if reasoning
        else []
    )
    lines += [answer.text or "(no answer)", ""]
    for call in answer.calls:
        lines += [f"`{call.name}({call.arguments})`", ""]
    return lines


def jsonl(chat: Chat) -> str:
    """One conversation a line for each pane, in the form that training reads; how each answer came
    stands beside it."""
    answered = [pane for pane in chat.panes if any(answer.answered for answer in pane.answers)]
    return "".join(
        json.dumps(_conversation(chat, pane), ensure_ascii=False) + "\n" for pane in answered
    )


def _conversation(chat: Chat, pane: Conversation) -> dict[str, Any]:
    """What the pane's last answer answers, and that answer."""
    last = next(answer for answer in reversed(pane.answers) if answer.answered)
    answers = [answer for answer in last.chain[last.skipped :] if answer.answered]
    return {
        "messages": [*last.context(), *last.said()],
        **({"tools": list(last.turn.tools)} if last.turn.tools else {}),
        "model": last.speaker.label,
        "answers": [_answer(answer) for answer in answers],
        "chat": chat.id,
    }


def _answer(answer: Answer) -> dict[str, Any]:
    if isinstance(answer.state, Complete):
        figures = asdict(answer.state.figures)
    else:
        figures = {"reason": "given" if isinstance(answer.state, Given) else "stopped"}
    about = {
        "turn": answer.turn.number,
        "model": answer.speaker.label,
        "sampling": asdict(answer.turn.settings.sampling),
        **figures,
    }
    return {**about, **({"reasoning": "".join(answer.reasoning)} if answer.reasoning else {})}
