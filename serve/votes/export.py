"""Votes and corrections as training data, in the conversational formats of TRL, each row with where
it comes from.

* A preference pair: `prompt` (the messages before; assistant turns among them with weight 0),
  `chosen` and `rejected` (one assistant message each). From votes that name a better answer, where
  both answered the very same conversation and the better one came to its end; and from
  corrections, of which the person's words are the chosen ones.
* A corrected answer as a conversation: `messages`, with weight 0 on every assistant turn but the
  corrected one.
"""

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

from serve.chats.database import reading
from serve.chats.store import join, whole_answers, whole_turns
from serve.chats.turns import Answer
from serve.client import ChatMessage
from serve.votes.ballots import Ballot, ballots

Row = dict[str, Any]


@dataclass
class Exported:
    """`left_out` counts the votes and corrections that make no row, by reason."""

    pairs: list[Row] = field(default_factory=list)
    corrected: list[Row] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)

    @property
    def left_out_note(self) -> str:
        """ " Left out: 3 (a tie), 1 (both bad)."; empty if nothing is."""
        reasons = ", ".join(f"{count} ({reason})" for reason, count in self.left_out.most_common())
        return f" Left out: {reasons}." if reasons else ""


def collect(with_named: bool = True) -> Exported:
    """Everything that the votes and corrections of this home have to teach. Without `with_named`,
    only blind votes."""
    exported = Exported()
    with reading() as connection:
        for ballot in ballots(connection):
            if not with_named and not ballot.vote.blind:
                exported.left_out["cast while the names were visible"] += 1
            else:
                _add_pairs(exported, ballot)
        for original, corrected, chat in _corrections(connection):
            pair = _pair(corrected, original)
            pair["provenance"] = {
                "kind": "correction",
                "chat": chat,
                "corrected": corrected.created,
                **_origin(original),
            }
            exported.pairs.append(pair)
            exported.corrected.append(_conversation(original, corrected, chat))
    return exported


def to_jsonl(rows: list[Row]) -> str:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def _add_pairs(exported: Exported, ballot: Ballot) -> None:
    if ballot.vote.verdict in ("tie", "bad"):
        exported.left_out["a tie" if ballot.vote.verdict == "tie" else "both bad"] += 1
        return
    for first, other, outcome in ballot.pairs():
        chosen, rejected = (first, other) if outcome == "first" else (other, first)
        if chosen.context() != rejected.context():
            exported.left_out["the two models answered different conversations"] += 1
        elif chosen.text == rejected.text:
            exported.left_out["both gave the same answer"] += 1
        elif not chosen.text.strip() or chosen.calls or rejected.calls:
            exported.left_out["no text, or a tool call"] += 1
        elif chosen.cut_off:  # a stop token would be learned where the model had not ended
            exported.left_out["the better answer was cut off at its longest length"] += 1
        else:
            vote = ballot.vote
            about = {
                "kind": "vote",
                "vote": vote.id,
                "chat": ballot.chat,
                "blind": vote.blind,
                "reason": vote.reason,
                "cast": vote.created,
            }
            models = {
                "chosen_model": asdict(chosen.speaker),
                "rejected_model": asdict(rejected.speaker),
            }
            exported.pairs.append(
                {**_pair(chosen, rejected), "provenance": {**about, **models, **_origin(chosen)}}
            )


def _pair(chosen: Answer, rejected: Answer) -> Row:
    tools = {"tools": list(chosen.turn.tools)} if chosen.turn.tools else {}
    return {
        "prompt": _untrained(chosen.context()),
        "chosen": [_assistant(chosen)],
        "rejected": [_assistant(rejected)],
        **tools,
    }


def _conversation(original: Answer, corrected: Answer, chat: str) -> Row:
    """What the model should have said. Only the person's words are trained."""
    messages = _untrained(corrected.context())
    tools = {"tools": list(corrected.turn.tools)} if corrected.turn.tools else {}
    about = {
        "kind": "correction",
        "chat": chat,
        "corrected": corrected.created,
        "original": original.text,
        **_origin(original),
    }
    return {"messages": [*messages, _assistant(corrected)], **tools, "provenance": about}


def _untrained(messages: list[ChatMessage]) -> list[ChatMessage]:
    """What models said before, and nobody judged, is read but not learned: `weight` 0 says so to
    Luthier, and templates pass it by."""
    return [
        {**message, "weight": 0} if message["role"] == "assistant" else message
        for message in messages
    ]


def _assistant(answer: Answer) -> ChatMessage:
    return {"role": "assistant", "content": answer.text}


def _origin(answer: Answer) -> dict[str, Any]:
    turn = answer.turn
    return {
        "model": asdict(answer.speaker),
        "turn": turn.id,
        "sampling": asdict(turn.settings.sampling),
        "prompt_source": turn.source,
    }


def _corrections(connection: sqlite3.Connection) -> Iterator[tuple[Answer, Answer, str]]:
    """Each answer that a person rewrote, with the newest of their versions."""
    newest = "SELECT max(row) FROM answers WHERE corrects IS NOT NULL GROUP BY corrects"
    chats = [
        row["chat"]
        for row in connection.execute(f"SELECT DISTINCT chat FROM answers WHERE row IN ({newest})")
    ]
    for chat in chats:
        turns = whole_turns(connection.execute("SELECT * FROM turns WHERE chat = ?", (chat,)))
        rows = connection.execute(
            "SELECT * FROM answers WHERE chat = ? ORDER BY row", (chat,)
        ).fetchall()
        answers = whole_answers(rows, turns)
        join(answers, rows)
        latest = {answer.corrects: answer for answer in answers.values() if answer.corrects}
        for original_id, corrected in latest.items():
            if original_id in answers and corrected.text.strip():
                yield answers[original_id], corrected, chat
