"""Judging the answers to a turn: which ones can be compared, and the vote."""

from __future__ import annotations

from dataclasses import dataclass, replace

from serve.chats.store import Verdict, Vote
from serve.chats.turns import Answer, Complete, Turn, new_id
from workshop.chat.session import LETTERS, ChatSession


@dataclass(frozen=True)
class Ballot:
    """The answers to one turn that can be compared, each with the letter of its pane."""

    turn: Turn
    answers: tuple[tuple[str, Answer], ...]


def ballot_of(session: ChatSession) -> Ballot | None:
    """The last turn, if at least two models have answered it and none is still at it."""
    if session.answering or not session.chat.turns:
        return None
    turn = session.chat.turns[-1]
    answers = tuple(
        (letter, pane.last)
        for letter, pane in zip(LETTERS, session.panes, strict=False)
        if pane in session.contestants
        and pane.last is not None
        and pane.last.turn.id == turn.id
        and _comparable(pane.last)
    )
    return Ballot(turn, answers) if len(answers) > 1 else None


def cast(session: ChatSession, ballot: Ballot, verdict: Verdict, letter: str | None) -> Vote:
    """Write a judgement down. `letter` names the answer that is better, or worse, than all
    others."""
    answers = dict(ballot.answers)
    ids = tuple(answer.id for answer in answers.values())
    choice = answers[letter].id if letter is not None else None
    return _write(session, Vote(new_id(), ballot.turn.id, ids, verdict, choice, session.chat.blind))


def explain(session: ChatSession, vote: Vote, reason: str) -> None:
    """Why a vote was cast as it was."""
    _write(session, replace(vote, reason=reason))


def _write(session: ChatSession, vote: Vote) -> Vote:
    session.chat.votes[vote.turn] = vote
    session.record.voted(session.chat, vote)
    return vote


def _comparable(answer: Answer) -> bool:
    """Stopped and failed answers say nothing about their model."""
    return isinstance(answer.state, Complete)
