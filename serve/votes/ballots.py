"""The votes of a home, each taken apart into comparisons of two answers."""

from __future__ import annotations

import itertools
import json
import sqlite3
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

from jobs.foreign_json import Damaged
from serve.chats.database import reading
from serve.chats.store import Vote, join, vote_of, whole_answers, whole_turns
from serve.chats.turns import Answer

Outcome = Literal["first", "second", "tie", "bad"]


@dataclass(frozen=True)
class Comparison:
    """Two answers to the same prompt, and which is better: the first, the second, both alike, or
    both bad.

    `first` and `second` name models; of a pair, the name that sorts first stands first. Lengths are
    in characters, tokens where told.
    """

    vote: str
    chat: str
    turn: str
    first: str
    second: str
    outcome: Outcome
    first_length: int
    second_length: int
    first_tokens: int | None
    second_tokens: int | None
    blind: bool
    created: float

    @property
    def decided(self) -> bool:
        return self.outcome in ("first", "second")


@dataclass(frozen=True)
class Ballot:
    """A vote with the answers that it judges, their conversations attached."""

    vote: Vote
    chat: str
    answers: tuple[Answer, ...]

    def pairs(self) -> Iterator[tuple[Answer, Answer, Outcome]]:
        """Each two answers on which the vote says something. The best of three says nothing about
        the other two."""
        for first, other in itertools.combinations(self.answers, 2):
            verdict, choice = self.vote.verdict, self.vote.choice
            if verdict in ("tie", "bad"):
                yield first, other, "tie" if verdict == "tie" else "bad"
            elif choice in (first.id, other.id):
                yield (
                    first,
                    other,
                    "first" if (choice == first.id) == (verdict == "better") else "second",
                )


def ballots(connection: sqlite3.Connection) -> list[Ballot]:
    """Every vote that stands and can be read with its answers, the oldest first."""
    votes = connection.execute(
        "SELECT * FROM votes WHERE withdrawn IS NULL ORDER BY row"
    ).fetchall()
    if not votes:
        return []
    turns = whole_turns(connection.execute("SELECT * FROM turns"))
    chat_ids = {row["chat"] for row in votes}
    rows = [
        row
        for row in connection.execute("SELECT * FROM answers ORDER BY row")
        if row["chat"] in chat_ids
    ]
    answers = whole_answers(rows, turns)
    join(answers, rows)
    complete_ballots = []
    for row in votes:
        try:
            vote = vote_of(row)
        except Damaged:
            continue
        judged = tuple(answers[answer_id] for answer_id in vote.answers if answer_id in answers)
        if len(judged) == len(vote.answers):
            complete_ballots.append(Ballot(vote, row["chat"], judged))
    return complete_ballots


def comparisons() -> list[Comparison]:
    """What all votes say of each two models. A model is one run's: two runs of one name are told
    apart by their ids."""
    with reading() as connection:
        complete_ballots = ballots(connection)
    names = _names([answer for ballot in complete_ballots for answer in ballot.answers])
    result = []
    for ballot in complete_ballots:
        for first_answer, other, outcome in ballot.pairs():
            first, second = names[_identity(first_answer)], names[_identity(other)]
            if first == second:  # the same model twice, with other words: says nothing of models
                continue
            comparison = Comparison(
                ballot.vote.id,
                ballot.chat,
                ballot.vote.turn,
                first,
                second,
                outcome,
                len(first_answer.text),
                len(other.text),
                first_answer.tokens,
                other.tokens,
                ballot.vote.blind,
                ballot.vote.created,
            )
            result.append(comparison if first < second else turned(comparison))
    return result


def turned(comparison: Comparison) -> Comparison:
    """The same with its sides changed."""
    outcomes: dict[Outcome, Outcome] = {
        "first": "second",
        "second": "first",
        "tie": "tie",
        "bad": "bad",
    }
    return replace(
        comparison,
        first=comparison.second,
        second=comparison.first,
        outcome=outcomes[comparison.outcome],
        first_length=comparison.second_length,
        second_length=comparison.first_length,
        first_tokens=comparison.second_tokens,
        second_tokens=comparison.first_tokens,
    )


def _identity(answer: Answer) -> str:
    speaker = answer.speaker
    return json.dumps(
        [speaker.label, speaker.run if speaker.kind != "base" else None, speaker.path]
    )


def _names(answers: list[Answer]) -> dict[str, str]:
    """A name for each model: its own, with the run or folder where several share it."""
    by_label: dict[str, dict[str, Answer]] = defaultdict(dict)
    for answer in answers:
        by_label[answer.speaker.label][_identity(answer)] = answer
    names = {}
    for label, models in by_label.items():
        for identity, answer in models.items():
            origin = answer.speaker.run or answer.speaker.path
            names[identity] = f"{label} [{origin}]" if len(models) > 1 and origin else label
    return names
