"""Whatever is done in a chat, the database has it: random walks through everything a user can do,
read back after each."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import get_args

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from jobs.luthier_error import LuthierError
from serve.chats import store
from serve.chats.journal import Journal
from serve.chats.store import Record, Verdict
from serve.chats.turns import Answer, ChatSettings, Complete, Conversation, Failed, Speaker
from serve.client import CallPiece, Delta, Finished, Sampling
from workshop.chat.ballot import ballot_of, cast, explain
from workshop.chat.session import ChatSession

pytestmark = pytest.mark.heavy

SPEAKERS = [
    Speaker("base"),
    Speaker("captain", "tuned", run="r1", path="/a"),
    Speaker("gpt", "hosted", "openai"),
]
TEXT = st.text(st.characters(codec="utf-8"), min_size=1, max_size=12)


class ChatMachine(RuleBasedStateMachine):
    @initialize()
    def begin(self) -> None:
        self.home = tempfile.TemporaryDirectory()
        os.environ["LUTHIER_HOME"] = self.home.name
        self.journal = Journal(file=Path(self.home.name) / "chats.db")
        self.session = ChatSession(Record(self.journal))
        self.session.chat.panes = [Conversation(speaker) for speaker in SPEAKERS[:2]]

    def teardown(self) -> None:
        assert self.journal.close()
        self.home.cleanup()

    @property
    def quiet(self) -> bool:
        return not self.session.answering

    @property
    def open_answers(self) -> list[Answer]:
        return [
            pane.last
            for pane in self.session.panes
            if pane.last is not None and pane.last.answering
        ]

    @precondition(lambda self: self.quiet)
    @rule(prompt=TEXT)
    def send(self, prompt: str) -> None:
        self.session.send(prompt)

    @precondition(lambda self: self.quiet)
    @rule(prompt=TEXT, text=TEXT)
    def talk(self, prompt: str, text: str) -> None:
        """A whole turn, so that walks get somewhere."""
        for pane in self.session.send(prompt):
            pane.answers[-1].add(Delta(text))
            pane.answers[-1].state = Complete(Finished("stop", 3, 4, 0.1, 0.5))
            self.session.record.ended(pane.answers[-1])

    @precondition(lambda self: self.open_answers)
    @rule(data=st.data(), text=TEXT, reasoning=st.one_of(st.just(""), TEXT))
    def grow(self, data: st.DataObject, text: str, reasoning: str) -> None:
        answer = data.draw(st.sampled_from(self.open_answers))
        answer.add(
            Delta(text, reasoning, (CallPiece(0, "c", "look", text),) if len(text) > 9 else ())
        )
        self.session.record.grew(answer, text, reasoning)

    @precondition(lambda self: self.open_answers)
    @rule(data=st.data(), how=st.sampled_from(["complete", "fail", "halt"]))
    def end(self, data: st.DataObject, how: str) -> None:
        answer = data.draw(st.sampled_from(self.open_answers))
        if how == "complete":
            answer.state = Complete(Finished("stop", 3, 4, 0.1, 0.5))
        elif how == "fail":
            answer.state = Failed(LuthierError("No", "because", "try"))
        answer.halt()
        self.session.record.ended(answer)

    @precondition(lambda self: self.quiet and not self.session.empty)
    @rule(data=st.data())
    def retry(self, data: st.DataObject) -> None:
        self.session.retry(
            data.draw(st.lists(st.sampled_from(self.session.panes), min_size=1, unique=True))
        )

    @precondition(lambda self: self.quiet and not self.session.empty)
    @rule(data=st.data(), prompt=TEXT)
    def edit(self, data: st.DataObject, prompt: str) -> None:
        self.session.edit(data.draw(st.sampled_from(self.session.chat.turns)), prompt)

    @precondition(lambda self: self.quiet and not self.session.empty)
    @rule(data=st.data(), text=TEXT)
    def correct(self, data: st.DataObject, text: str) -> None:
        pane = data.draw(st.sampled_from([pane for pane in self.session.panes if pane.answers]))
        self.session.correct(pane, data.draw(st.sampled_from(pane.answers)), text)

    @precondition(lambda self: self.quiet and not self.session.empty)
    @rule(data=st.data())
    def continue_from(self, data: st.DataObject) -> None:
        pane = data.draw(st.sampled_from([pane for pane in self.session.panes if pane.answers]))
        self.session.continue_from(pane.answers[-1])

    @precondition(lambda self: self.quiet and len(self.session.panes) < 4)
    @rule(speaker=st.sampled_from(SPEAKERS))
    def add_pane(self, speaker: Speaker) -> None:
        self.session.add_pane(speaker)

    @precondition(lambda self: self.quiet and len(self.session.panes) > 1)
    @rule(data=st.data())
    def remove_pane(self, data: st.DataObject) -> None:
        self.session.remove_pane(data.draw(st.sampled_from(self.session.panes)))

    @precondition(lambda self: self.quiet)
    @rule(data=st.data(), speaker=st.sampled_from(SPEAKERS))
    def choose(self, data: st.DataObject, speaker: Speaker) -> None:
        self.session.choose(data.draw(st.sampled_from(self.session.panes)), speaker)

    @precondition(lambda self: self.quiet)
    @rule(system=TEXT, seed=st.one_of(st.none(), st.integers(0, 2**62)))
    def use_settings(self, system: str, seed: int | None) -> None:
        self.session.use_settings(ChatSettings(system, Sampling(seed=seed)))

    @precondition(lambda self: ballot_of(self.session) is not None)
    @rule(data=st.data())
    def vote(self, data: st.DataObject) -> None:
        ballot = ballot_of(self.session)
        assert ballot is not None
        verdict: Verdict = data.draw(st.sampled_from(get_args(Verdict)))
        letter = (
            data.draw(st.sampled_from([letter for letter, _ in ballot.answers]))
            if verdict in ("better", "worse")
            else None
        )
        explain(self.session, cast(self.session, ballot, verdict, letter), "why")

    @precondition(lambda self: self.quiet)
    @rule()
    def clear(self) -> None:
        self.session.clear()

    @precondition(lambda self: self.quiet and not self.session.empty)
    @rule()
    def go_on_from_the_database(self) -> None:
        assert self.journal.flush()
        self.session.open(store.load(self.session.chat.id))

    @invariant()
    def the_database_has_all_of_it(self) -> None:
        if not hasattr(self, "session") or self.session.empty:
            return
        assert self.journal.flush()
        chat, found = self.session.chat, store.load(self.session.chat.id)
        assert (found.settings, found.blind, found.votes) == (
            chat.settings,
            chat.blind,
            {**found.votes, **chat.votes},
        )
        assert [pane.speaker for pane in found.panes] == [pane.speaker for pane in chat.panes]
        for ours, theirs in zip(chat.panes, found.panes, strict=True):
            assert [_facts(answer) for answer in theirs.answers] == [
                _facts(answer) for answer in ours.answers
            ]
            assert (theirs.head.id if theirs.head else None) == (
                ours.head.id if ours.head else None
            )
            for mine, kept in zip(ours.answers, theirs.answers, strict=True):
                assert kept.context() == mine.context()


def _facts(answer: Answer) -> tuple[object, ...]:
    """Everything of an answer but what only a living process knows."""
    state = (
        "open"
        if answer.answering or type(answer.state).__name__ == "Interrupted"
        else type(answer.state).__name__
    )
    calls = [] if answer.answering or state == "open" else [vars(call) for call in answer.calls]
    return (
        answer.id,
        answer.text,
        "".join(answer.reasoning),
        answer.turn,
        answer.speaker,
        answer.skipped,
        answer.corrects,
        calls,
        state,
    )


TestChatMachine = ChatMachine.TestCase
TestChatMachine.settings = settings(max_examples=30, stateful_step_count=30, deadline=None)
