"""What the old model is asked: every turn that a file has an answer to, or waits for one, after the
turns that came before it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import msgspec

from jobs.files import write_atomic
from jobs.luthier_error import LuthierError
from models import foreign
from models.conversations import read_conversations
from models.stored_sample import StoredSample
from serve.client import ChatMessage
from serve.comparison.journal import key_of
from serve.replay import read_scripts

QUESTIONS_FILE = "questions.jsonl"
_TEXT_SUFFIXES = (".txt", ".md", "")
_MESSAGE_KEYS = ("role", "content", "name", "tool_calls", "tool_call_id")


class Question(msgspec.Struct, frozen=True, omit_defaults=True):
    """`messages` end with what is to be answered; earlier answers in them are the file's own."""

    messages: list[ChatMessage]
    tools: list[dict[str, Any]] = []
    source: dict[str, Any] = {}
    """The file and the row."""

    @property
    def identity(self) -> str:
        """Equal for questions that say the same."""
        return key_of(self.messages, self.tools)


def read_questions(
    paths: Iterable[Path], most: int | None = None, *, are_samples: bool = False
) -> list[Question]:
    """The questions of files of conversations (JSON Lines), or of texts with one on each line; each
    question once. `are_samples`: of training, which say themselves where they come from."""
    questions: dict[str, Question] = {}
    files = [*paths]
    for path in files:
        is_text = path.suffix in _TEXT_SUFFIXES
        origins = _origins(path) if are_samples else []
        for question in _of_text(path) if is_text else _of_conversations(path):
            if origins:
                origin = origins[question.source["row"]]
                question = msgspec.structs.replace(question, source=origin)
            questions.setdefault(question.identity, question)
            if len(questions) == most:
                return list(questions.values())
    if not questions:
        names = ", ".join(map(str, files))
        raise LuthierError(
            "Nothing to ask",
            f"No conversation in {names} has a user's turn.",
            'A line is {"messages": [{"role": "user", "content": "..."}]}.',
        )
    return list(questions.values())


def _origins(samples: Path) -> list[dict[str, Any]]:
    """The rows of the data that samples were made of."""
    return [sample.source for sample in foreign.Decoder(StoredSample).lines(samples)]


def _of_text(path: Path) -> Iterator[Question]:
    for script in read_scripts(path):
        yield Question(list(script[0].messages), source=script[0].source or {})


def _of_conversations(path: Path, *, only_trained: bool = False) -> Iterator[Question]:
    for conversation in read_conversations(path):
        tools = conversation.tools or []
        context: list[ChatMessage] = []
        for message in conversation.messages:
            is_trained = message.get("weight", 1) != 0
            if (
                message["role"] == "assistant"
                and _waits(context)
                and (is_trained or not only_trained)
            ):
                yield Question([*context], tools, conversation.source)
            context.append({key: message[key] for key in _MESSAGE_KEYS if key in message})
        if _waits(context) and not only_trained:
            yield Question(context, tools, conversation.source)


def _waits(context: list[ChatMessage]) -> bool:
    return bool(context) and context[-1]["role"] in ("user", "tool")


def write_questions(folder: Path, questions: Iterable[Question]) -> None:
    lines = (msgspec.json.encode(question).decode() + "\n" for question in questions)
    write_atomic(folder / QUESTIONS_FILE, "".join(lines))


def stored_questions(folder: Path) -> list[Question]:
    """Those that `write_questions` wrote."""
    return list(foreign.Decoder(Question).lines(folder / QUESTIONS_FILE))


def trained_questions(samples: Path) -> frozenset[str]:
    """The identities of the questions whose answers a run was trained on."""
    return frozenset(
        question.identity for question in _of_conversations(samples, only_trained=True)
    )


def file_hash(path: Path) -> str:
    """Of a file, or of what a folder's files hold together."""
    digest = sha256()
    for file in [path] if path.is_file() else sorted(path.rglob("*")):
        if file.is_file():
            digest.update(file.read_bytes())
    return digest.hexdigest()


def said(message: ChatMessage) -> str:
    """A message's text, with what it calls."""
    calls = message.get("tool_calls")
    text = str(message.get("content") or "")
    return f"{text}\n{json.dumps(calls, ensure_ascii=False)}".strip() if calls else text
