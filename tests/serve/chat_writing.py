"""Chats for tests: made in memory, written down, and a program that streams until it is killed."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence

from serve.chats.journal import Journal
from serve.chats.store import Chat, Record
from serve.chats.turns import Answer, ChatSettings, Complete, Conversation, Speaker, Turn, new_id
from serve.client import Delta, Finished, Sampling

BASE = Speaker("base", "base", path="/models/builtin")
CAPTAIN = Speaker(
    "captain", "tuned", run="20261118-0003-captain-00ff", path="/runs/captain/adapter"
)
PIRATE = Speaker("pirate", "tuned", run="20261118-0004-pirate-00ff", path="/runs/pirate/adapter")


def new_chat(*speakers: Speaker, settings: ChatSettings | None = None) -> Chat:
    return Chat(
        panes=[Conversation(speaker) for speaker in speakers or (BASE, CAPTAIN)],
        settings=settings or ChatSettings(),
    )


def ask(chat: Chat, prompt: str) -> list[Answer]:
    """A turn that every pane now has an open answer to."""
    settings = ChatSettings(chat.settings.system, Sampling(seed=7))
    turn = Turn(new_id(), len(chat.turns) + 1, ({"role": "user", "content": prompt},), settings)
    return [pane.begin(turn) for pane in chat.panes]


def complete(answer: Answer, text: str, tokens: int | None = None, reason: str = "stop") -> None:
    answer.add(Delta(text))
    answer.state = Complete(
        Finished(reason, 9, len(text.split()) if tokens is None else tokens, 0.1, 0.5)
    )


def write(chat: Chat, prompt: str, texts: Sequence[str]) -> list[Answer]:
    """A turn with its answers, complete and in the database."""
    journal = Journal()
    record = Record(journal)
    answers = ask(chat, prompt)
    record.begun(chat, answers)
    for answer, text in zip(answers, texts, strict=True):
        complete(answer, text)
        record.ended(answer)
    assert journal.close()
    return answers


def stream_for_ever() -> None:
    """Two answers grow a word every 5 ms. The words that were given to the journal are counted on
    stdout."""
    journal = Journal()
    record = Record(journal)
    chat = new_chat()
    answers = ask(chat, "Count")
    record.begun(chat, answers)
    print(chat.id, flush=True)
    for number in range(1_000_000):
        for answer in answers:
            answer.add(Delta(f"w{number} "))
            record.grew(answer, f"w{number} ", "")
        print(number, flush=True)
        time.sleep(0.005)


def write_many(count: int, name: str) -> None:
    """`count` turns, each committed by itself."""
    chat = new_chat()
    for number in range(count):
        write(
            chat,
            f"{name} asks {number}",
            [f"{name} is answered {number} by base", f"{name} is answered {number} by captain"],
        )


if __name__ == "__main__":
    if sys.argv[1] == "stream":
        stream_for_ever()
    else:
        write_many(int(sys.argv[2]), sys.argv[3])
