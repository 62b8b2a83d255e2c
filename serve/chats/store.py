"""What is written of a chat as it goes on, and a chat read back as it stood."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from jobs.foreign_json import Damaged, check
from jobs.luthier_error import LuthierError
from models import foreign
from serve.chats.database import opened, reading, transaction
from serve.chats.journal import Journal, Statement
from serve.chats.rows import AnswerRow, ChatRow, TurnRow, VoteRow, row_as
from serve.chats.rows import Verdict as Verdict
from serve.chats.turns import (
    Answer,
    AnswerState,
    ChatSettings,
    Complete,
    Conversation,
    Failed,
    Given,
    Halted,
    Interrupted,
    Speaker,
    ToolCall,
    Turn,
    Waiting,
    Writing,
    new_chat_id,
)
from serve.chats.writer_locks import is_living, own_writer, sweep
from serve.client import ChatMessage, Finished, without_surrogates

_TITLE_LENGTH = 80


@dataclass(frozen=True)
class Vote:
    """A judgement of one turn's answers. `choice` is the id of the one that is better, or worse,
    than all others; none for the rest."""

    id: str
    turn: str
    answers: tuple[str, ...]
    verdict: Verdict
    choice: str | None
    blind: bool
    reason: str = ""
    created: float = field(default_factory=time.time)


@dataclass
class Chat:
    """A chat with all that it shows. `blind` says that its names are hidden."""

    id: str = field(default_factory=new_chat_id)
    panes: list[Conversation] = field(default_factory=list)
    settings: ChatSettings = field(default_factory=ChatSettings)
    blind: bool = False
    votes: dict[str, Vote] = field(default_factory=dict)
    created: float = field(default_factory=time.time)

    @property
    def turns(self) -> list[Turn]:
        """What was asked and is still shown, in order."""
        turns = {answer.turn.id: answer.turn for pane in self.panes for answer in pane.answers}
        return sorted(turns.values(), key=lambda turn: (turn.number, turn.id))

    def holding(self, words: Sequence[str]) -> tuple[Conversation, Answer] | None:
        """An answer in whose text, reasoning or prompt all these words stand, with its pane; rather
        one that is shown."""
        answers = [(pane, answer) for pane in self.panes for answer in pane.answers]
        answers += [(pane, answer) for pane in self.panes for answer in pane.left]
        texts = (
            (pane, answer, ("".join(answer.reasoning) + "\n" + answer.text, answer.turn.prompt))
            for pane, answer in answers
        )
        holders = (
            (pane, answer)
            for pane, answer, written in texts
            if any(all(word.lower() in text.lower() for word in words) for text in written)
        )
        return next(holders, None)

    @property
    def title(self) -> str:
        """The beginning of the first prompt."""
        words = " ".join(self.turns[0].prompt.split()) if self.turns else ""
        return words if len(words) <= _TITLE_LENGTH else f"{words[: _TITLE_LENGTH - 1]}…"


class Record:
    """Writes one process's chats down. Nothing here waits for the disk."""

    def __init__(self, journal: Journal) -> None:
        self.journal = journal

    def begun(self, chat: Chat, answers: list[Answer]) -> None:
        """Answers have been asked for, or written by a person. The chat is made with its first
        one."""
        statements = self._layout(chat)
        for answer in answers:
            statements += [_turn(chat, answer.turn), _answer(chat, answer)]
        self.journal.write(*statements)

    def grew(self, answer: Answer, text: str, reasoning: str) -> None:
        self.journal.grow(answer.id, text, reasoning)

    def ended(self, answer: Answer) -> None:
        """An answer is complete, was stopped, or failed: all of it, whatever had been written
        before."""
        state, detail = _state_of(answer.state)
        calls = json.dumps([asdict(call) for call in answer.calls])
        values = (
            answer.text,
            "".join(answer.reasoning),
            calls,
            state,
            json.dumps(detail),
            answer.id,
        )
        sql = (
            "UPDATE answers SET text = ?, reasoning = ?, calls = ?, state = ?, detail = ? WHERE"
            " id = ?"
        )
        self.journal.finish(answer.id, (sql, values))

    def layout(self, chat: Chat) -> None:
        """What the panes show, or who speaks in them, or whether the names are hidden, has
        changed."""
        if chat.turns:
            self.journal.write(*self._layout(chat))

    def removed(self, chat: Chat, position: int) -> None:
        """A pane was taken away. Its answers stay, in none; those of the panes after it move with
        them."""
        if chat.turns:
            out = (
                "UPDATE answers SET position = -1 WHERE chat = ? AND position = ?",
                (chat.id, position),
            )
            along = (
                "UPDATE answers SET position = position - 1 WHERE chat = ? AND position > ?",
                (chat.id, position),
            )
            self.journal.write(out, along, *self._layout(chat))

    def voted(self, chat: Chat, vote: Vote) -> None:
        """An earlier vote on the same answers is withdrawn."""
        answers = json.dumps(vote.answers)
        withdraw = (
            "UPDATE votes SET withdrawn = ? WHERE turn = ? AND answers = ? AND id != ? AND"
            " withdrawn IS NULL"
        )
        put = """INSERT INTO votes
                 (id, chat, turn, answers, verdict, choice, reason, blind, created)
                 VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
                 ON CONFLICT (id) DO UPDATE SET reason = excluded.reason"""
        values = (
            vote.id,
            chat.id,
            vote.turn,
            answers,
            vote.verdict,
            vote.choice,
            vote.reason,
            vote.blind,
            vote.created,
        )
        self.journal.write((withdraw, (time.time(), vote.turn, answers, vote.id)), (put, values))

    def _layout(self, chat: Chat) -> list[Statement]:
        now = time.time()
        put = """INSERT INTO chats (id, title, created, updated, settings, blind)
                 VALUES (?, ?, ?, ?, ?, ?)
                 ON CONFLICT (id) DO UPDATE SET updated = excluded.updated,
                     settings = excluded.settings, blind = excluded.blind"""
        statements: list[Statement] = [
            (
                put,
                (
                    chat.id,
                    without_surrogates(chat.title),
                    chat.created,
                    now,
                    _json(chat.settings),
                    chat.blind,
                ),
            )
        ]
        for position, pane in enumerate(chat.panes):
            if pane.speaker is not None:
                answer_ids = json.dumps([answer.id for answer in pane.answers])
                values = (
                    chat.id,
                    position,
                    _json(pane.speaker),
                    answer_ids,
                    pane.head.id if pane.head else None,
                )
                statements.append(
                    (
                        (
                            "INSERT OR REPLACE INTO panes (chat, position, speaker, shown, head)"
                            " VALUES (?, ?, ?, ?, ?)"
                        ),
                        values,
                    )
                )
        statements.append(
            ("DELETE FROM panes WHERE chat = ? AND position >= ?", (chat.id, len(chat.panes)))
        )
        return statements


def _turn(chat: Chat, turn: Turn) -> Statement:
    sql = """INSERT OR IGNORE INTO turns
             (id, chat, number, messages, prompt, settings, tools, source, edits, created)
             VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"""
    source = None if turn.source is None else json.dumps(turn.source)
    messages, tools = json.dumps(turn.messages), json.dumps(turn.tools, ensure_ascii=False)
    return sql, (
        turn.id,
        chat.id,
        turn.number,
        messages,
        without_surrogates(turn.prompt),
        _json(turn.settings),
        tools,
        source,
        turn.edits,
        turn.created,
    )


def _answer(chat: Chat, answer: Answer) -> Statement:
    state, detail = _state_of(answer.state)
    position = next((index for index, pane in enumerate(chat.panes) if answer in pane.answers), 0)
    values = {
        "id": answer.id,
        "chat": chat.id,
        "turn": answer.turn.id,
        "position": position,
        "speaker": _json(answer.speaker),
        "parent": answer.parent.id if answer.parent else None,
        "settings": _json(answer.turn.settings),
        "skipped": answer.skipped,
        "corrects": answer.corrects,
        "text": answer.text,
        "state": state,
        "detail": json.dumps(detail),
        "writer": own_writer() if answer.answering else None,
        "created": answer.created,
    }
    return (
        (
            f"INSERT OR REPLACE INTO answers ({', '.join(values)}) VALUES"
            f" ({', '.join('?' * len(values))})"
        ),
        (*values.values(),),
    )


def _json(value: Speaker | ChatSettings) -> str:
    return json.dumps(asdict(value))


def _state_of(state: AnswerState) -> tuple[str, dict[str, Any]]:
    match state:
        case Waiting() | Writing():
            return "writing", {}
        case Complete(figures):
            return "complete", asdict(figures)
        case Halted(time_to_first_token, seconds):
            return "stopped", {"time_to_first_token": time_to_first_token, "seconds": seconds}
        case Failed(error):
            return "failed", error.to_json()
        case Given():
            return "given", {}
        case Interrupted():
            return "interrupted", {}


# Reading


def load(chat_id: str) -> Chat:
    """A chat as it stood. LuthierError if there is none of this id, or if something of it cannot be
    read."""
    with reading() as connection:
        mark_interrupted(connection)
        row = connection.execute("SELECT * FROM chats WHERE id = ?", (chat_id,)).fetchone()
        if row is None:
            raise LuthierError(
                "No such chat",
                f"There is no chat with the id {chat_id!r}.",
                "`luthier chats` lists them.",
            )
        try:
            return _read_chat(connection, row_as(ChatRow, row, f"chat {chat_id}"))
        except Damaged as error:
            raise Damaged(
                error.where, error.reason, f"`luthier chats remove {chat_id}` deletes it."
            ) from None


def _read_chat(connection: sqlite3.Connection, row: ChatRow) -> Chat:
    answers = _answers(connection, row.id)
    chat = Chat(row.id, [], settings_of(row.settings), bool(row.blind), created=row.created)
    for pane in connection.execute(
        "SELECT * FROM panes WHERE chat = ? ORDER BY position", (row.id,)
    ):
        conversation = Conversation(foreign.decode(pane["speaker"], Speaker, "a pane's speaker"))
        answer_ids = foreign.decode(pane["shown"], list[str], "a pane's answers")
        conversation.answers = [
            answers[answer_id] for answer_id in answer_ids if answer_id in answers
        ]
        conversation.head = answers.get(pane["head"])
        chat.panes.append(conversation)
    _put_left(connection, chat, answers)
    for vote in connection.execute(
        "SELECT * FROM votes WHERE chat = ? AND withdrawn IS NULL ORDER BY row", (row.id,)
    ):
        read = vote_of(vote)
        chat.votes[read.turn] = read
    return chat


def _put_left(connection: sqlite3.Connection, chat: Chat, answers: dict[str, Answer]) -> None:
    """Each answer that is not shown goes to the pane in which it stood."""
    shown_ids = {answer.id for pane in chat.panes for answer in pane.answers}
    for row in connection.execute(
        "SELECT id, position FROM answers WHERE chat = ? ORDER BY row", (chat.id,)
    ):
        answer, position = answers.get(row["id"]), row["position"]
        placed = isinstance(position, int) and 0 <= position < len(chat.panes)
        if answer is not None and answer.answered and answer.id not in shown_ids and placed:
            chat.panes[position].left.append(answer)


def _answers(connection: sqlite3.Connection, chat_id: str) -> dict[str, Answer]:
    """Every answer of a chat by its id, also those that are no longer shown."""
    turns = {
        row["id"]: turn_of(row)
        for row in connection.execute("SELECT * FROM turns WHERE chat = ?", (chat_id,))
    }
    rows = connection.execute(
        "SELECT * FROM answers WHERE chat = ? ORDER BY row", (chat_id,)
    ).fetchall()
    answers: dict[str, Answer] = {}
    for row in rows:
        if row["turn"] in turns:
            answers[row["id"]] = answer_of(row, turns[row["turn"]])
    join(answers, rows)
    return answers


def join(answers: dict[str, Answer], rows: Iterable[sqlite3.Row]) -> None:
    """Give each answer the one before it, unless that leads in a circle."""
    for row in rows:
        child, parent = answers.get(row["id"]), answers.get(row["parent"])
        above = parent
        while above is not None and above is not child:
            above = above.parent
        if child is not None and above is None:
            child.parent = parent


def whole_turns(rows: Iterable[sqlite3.Row]) -> dict[str, Turn]:
    """Those that can be read, by their ids."""
    turns: dict[str, Turn] = {}
    for row in rows:
        with suppress(Damaged):
            turns[row["id"]] = turn_of(row)
    return turns


def whole_answers(rows: Iterable[sqlite3.Row], turns: dict[str, Turn]) -> dict[str, Answer]:
    """Those to these turns that can be read, by their ids; without their parents."""
    answers: dict[str, Answer] = {}
    for row in rows:
        if row["turn"] in turns:
            with suppress(Damaged):
                answers[row["id"]] = answer_of(row, turns[row["turn"]])
    return answers


def answer_of(row: sqlite3.Row, turn: Turn) -> Answer:
    """An answer without its parent."""
    read = row_as(AnswerRow, row, f"answer {row['id']}")
    where = f"answer {read.id}"
    return Answer(
        turn=replace(turn, settings=settings_of(read.settings)),
        speaker=foreign.decode(read.speaker, Speaker, where),
        parent=None,
        state=_read_state(read.state, read.detail, where),
        id=read.id,
        skipped=read.skipped,
        corrects=read.corrects,
        created=read.created,
        pieces=[read.text] if read.text else [],
        reasoning=[read.reasoning] if read.reasoning else [],
        calls=foreign.decode(read.calls, list[ToolCall], where),
    )


def turn_of(row: sqlite3.Row) -> Turn:
    read = row_as(TurnRow, row, f"turn {row['id']}")
    where = f"turn {read.id}"
    return Turn(
        id=read.id,
        number=read.number,
        messages=_messages(read.messages, where),
        settings=settings_of(read.settings),
        tools=tuple(foreign.decode(read.tools, list[dict[str, Any]], where)),
        source=foreign.decode(read.source, dict[str, Any], where) if read.source else None,
        edits=read.edits,
        created=read.created,
    )


def vote_of(row: sqlite3.Row) -> Vote:
    read = row_as(VoteRow, row, f"vote {row['id']}")
    answers = tuple(foreign.decode(read.answers, list[str], f"vote {read.id}"))
    return Vote(
        read.id,
        read.turn,
        answers,
        read.verdict,
        read.choice,
        bool(read.blind),
        read.reason,
        read.created,
    )


def settings_of(text: str) -> ChatSettings:
    return foreign.decode(text, ChatSettings, "a chat's settings")


def _messages(text: str, where: str) -> tuple[ChatMessage, ...]:
    messages = foreign.decode(text, list[dict[str, Any]], where)
    for message in messages:
        check({"role": None, **message}, {"role": str, "content": str | None}, where)
    if not messages:
        raise Damaged(where, "it has no message")
    return tuple(messages)


def _read_state(name: str, detail: str, where: str) -> AnswerState:
    match name:
        case "writing":
            return Interrupted(living=True)  # whoever wrote it and is gone has been marked
        case "complete":
            return Complete(foreign.decode(detail, Finished, where))
        case "stopped":
            return foreign.decode(detail, Halted, where)
        case "failed":
            stored = foreign.decode(detail, dict[str, str], where)
            return Failed(
                LuthierError(
                    stored.get("title", ""), stored.get("message", ""), stored.get("hint", "")
                )
            )
        case "given":
            return Given()
        case "interrupted":
            return Interrupted(living=False)
        case _:
            raise Damaged(where, f"{name!r} is not a state of an answer")


def mark_interrupted(connection: sqlite3.Connection) -> int:
    """Answers whose writer is gone are not being written any more: how many there were."""
    writing = connection.execute(
        "SELECT id, writer FROM answers WHERE state = 'writing'"
    ).fetchall()
    gone = [row["id"] for row in writing if row["writer"] is None or not is_living(row["writer"])]
    if gone:
        with transaction(connection):
            for answer_id in gone:
                connection.execute(
                    "UPDATE answers SET state = 'interrupted' WHERE id = ? AND state = 'writing'",
                    (answer_id,),
                )
        sweep()
    return len(gone)


def remove(chat_id: str) -> None:
    """Delete a chat with its votes. Refused while an answer is being written to it."""
    with opened() as connection:
        mark_interrupted(connection)
        with transaction(connection):
            if connection.execute(
                "SELECT 1 FROM answers WHERE chat = ? AND state = 'writing'", (chat_id,)
            ).fetchone():
                raise LuthierError(
                    "The chat is in use",
                    "An answer is still being written to it.",
                    "Stop the answer first.",
                )
            if not connection.execute(
                "DELETE FROM chats WHERE CAST(id AS TEXT) = ?", (chat_id,)
            ).rowcount:
                raise LuthierError(
                    "No such chat",
                    f"There is no chat with the id {chat_id!r}.",
                    "`luthier chats` lists them.",
                )
            for table in ("panes", "turns", "answers", "votes"):
                connection.execute(f"DELETE FROM {table} WHERE chat = ?", (chat_id,))
            if connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'texts'").fetchone():
                connection.execute("DELETE FROM texts WHERE chat = ?", (chat_id,))
