"""Votes on the chat screen, and prompts from a file."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from textual.widgets import Input, Static

from serve.chats.turns import REFERENCE, Failed, Given, Speaker
from serve.votes.report import quick_report
from tests.fakes.openai_server import FakeServer
from tests.serve.chat_writing import new_chat, write
from tests.serve.test_votes import vote
from tests.tui.chat_driving import ask, chat, shown, states, titles, to_pane, until
from tests.tui.driving import screen_text
from tui.chat.replay_form import ReplayModal
from tui.chat.vote_modal import VoteModal
from tui.chat.votes_modal import VotesModal


@pytest.fixture
def server() -> Iterator[FakeServer]:
    with FakeServer(("base", "captain", "pirate", "parrot")) as running:
        yield running


async def test_a_blind_vote_is_cast_and_counted(server: FakeServer) -> None:
    async with chat(server) as (pilot, screen):
        await to_pane(pilot, screen, 0)
        await pilot.press("b")
        await ask(pilot, screen, "Hi")
        assert titles(screen) == ["● A", "○ B"]
        assert "TTFT" not in shown(screen, 0)
        assert not any(
            name in str(screen.query_one("#side-0").border_subtitle) for name in ("tokens", "base")
        )
        await pilot.press("f2")
        assert isinstance(pilot.app.screen, VoteModal)
        await pilot.press("b")
        await until(lambda: bool(screen.session.chat.votes), pilot)
        for letter in "fits":
            await pilot.press(letter)
        await pilot.press("enter")
        (vote,) = screen.session.chat.votes.values()
        assert (vote.verdict, vote.choice, vote.blind, vote.reason) == (
            "better",
            screen.session.panes[1].answers[0].id,
            True,
            "fits",
        )
        assert screen.prompt.has_focus
        assert screen.journal.flush()
        report = quick_report()
        assert (report.blind, report.duels[0].wins) == (1, 1)
        await to_pane(pilot, screen, 0)
        await pilot.press("b")
        assert sorted(titles(screen)) == sorted(
            [
                f"{sign} {pane.speaker.label}"
                for sign, pane in zip("●○", screen.session.panes, strict=True)
                if pane.speaker
            ]
        )
        assert "TTFT" in shown(screen, 0)
        await pilot.press("n")
        assert titles(screen) == ["● A", "○ B"]


async def test_ties_and_the_worst_of_three(server: FakeServer) -> None:
    async with chat(server, size=(120, 30), panes=3) as (pilot, screen):
        for key, verdict in (("t", "tie"), ("x", "bad"), ("C", "worse"), ("a", "better")):
            await ask(pilot, screen, f"Turn {key}")
            await pilot.press("f2", key, "escape")
            vote = screen.session.chat.votes[screen.session.chat.turns[-1].id]
            assert vote.verdict == verdict
            assert not vote.blind
        await ask(pilot, screen, "No vote")
        await pilot.press("f2", "escape")
        assert len(screen.session.chat.votes) == 4


async def test_voting_before_the_answers_are_complete_says_so_and_leads_nowhere(
    server: FakeServer,
) -> None:
    server.tokens_per_second = 5
    async with chat(server) as (pilot, screen):
        await pilot.press(*"Hi", "enter")
        await until(lambda: screen.session.answering, pilot)
        await pilot.press("f2")
        assert pilot.app.screen is screen
        assert any("complete answers" in toast.message for toast in pilot.app._notifications)
        server.tokens_per_second = 2000
        await until(lambda: not screen.session.answering, pilot)
        await pilot.press("f2")
        assert isinstance(pilot.app.screen, VoteModal)


async def test_what_the_votes_say_is_shown(server: FakeServer) -> None:
    async with chat(server) as (pilot, screen):
        await ask(pilot, screen, "Hi")
        await pilot.press("f2", "b", "enter", "f9")
        modal = pilot.app.screen
        assert isinstance(modal, VotesModal)
        await until(lambda: "No blind votes yet" in screen_text(pilot.app), pilot)
        await pilot.press("n")
        await until(lambda: "captain against base" in screen_text(pilot.app), pilot)
        assert "6 more votes would decide it" in screen_text(pilot.app)


@pytest.mark.heavy
async def test_the_pair_that_is_decided_soonest_is_one_key_away(server: FakeServer) -> None:
    models = [Speaker(name, "base" if name == "base" else "tuned") for name in server.models[:3]]
    for other, votes in ((1, 5), (2, 2)):
        for _ in range(votes):
            talk = new_chat(models[0], models[other])
            vote(talk, write(talk, "Hi", ["no", "yes"]), "better", 1)
    async with chat(server) as (pilot, screen):
        await ask(pilot, screen, "Hi")
        await pilot.press("f9")
        await until(lambda: "next: base against captain" in screen_text(pilot.app), pilot)
        await pilot.press("p")
        await until(lambda: titles(screen) == ["● A", "○ B"], pilot)
        speakers = {pane.speaker.label for pane in screen.session.panes if pane.speaker}
        assert speakers == {"base", "captain"}
        assert screen.session.empty
        assert screen.session.chat.blind


async def test_a_failure_does_not_tell_who_it_was(server: FakeServer) -> None:
    async with chat(server) as (pilot, screen):
        await to_pane(pilot, screen, 0)
        await pilot.press("b")
        server.models.remove("captain")
        await ask(pilot, screen, "Hi")
        assert Failed in states(screen)
        assert "captain" not in shown(screen, 0) + shown(screen, 1).replace("captain says", "")
        assert "This answer failed" in shown(screen, 0) + shown(screen, 1)


# Prompts from a file


async def test_held_out_conversations_are_replayed_beside_their_answers(
    server: FakeServer, tmp_path: Path
) -> None:
    rows = [
        [
            ("user", "Hi"),
            ("assistant", "Ahoy from the data"),
            ("user", "And?"),
            ("assistant", "Farewell"),
        ],
        [("user", "Alone"), ("assistant", "Aye")],
    ]
    path = tmp_path / "heldout.jsonl"
    path.write_text(
        "".join(
            json.dumps({"messages": [{"role": role, "content": text} for role, text in row]}) + "\n"
            for row in rows
        )
    )
    async with chat(server, size=(120, 34)) as (pilot, screen):
        await pilot.press("f5")
        modal = pilot.app.screen
        assert isinstance(modal, ReplayModal)
        modal.query_one(Input).value = str(tmp_path / "absent.jsonl")
        await pilot.press("enter")
        await until(
            lambda: "absent.jsonl" in str(modal.query_one("#pick-note", Static).content), pilot
        )
        modal.query_one(Input).value = str(path)
        await pilot.press("enter")
        await until(
            lambda: screen.replaying.replay is not None and screen.prompt.text == "Hi", pilot
        )
        assert [pane.speaker for pane in screen.session.panes][2] == REFERENCE
        assert "1 of 2, turn 1 of 2" in str(screen.prompt.border_subtitle)
        await pilot.press("enter")
        await until(lambda: screen.prompt.text == "And?", pilot)
        assert "Ahoy from the data" in shown(screen, 2)
        assert type(screen.session.panes[2].answers[0].state) is Given
        await pilot.press("enter")
        await until(lambda: screen.prompt.text == "Alone", pilot)
        assert [message["content"] for message in server.requests[-1]["messages"]][::2] == [
            "Hi",
            "And?",
        ]
        first = screen.session.chat.id
        await pilot.press("enter")
        await until(lambda: not screen.session.answering and screen.replaying.replay is None, pilot)
        assert screen.session.chat.id != first
        assert [turn.prompt for turn in screen.session.chat.turns] == ["Alone"]


async def test_prompts_can_be_skipped_and_left(server: FakeServer, tmp_path: Path) -> None:
    (tmp_path / "prompts.txt").write_text("One\nTwo\nThree\n")
    async with chat(server) as (pilot, screen):
        await pilot.press("f5")
        pilot.app.screen.query_one(Input).value = str(tmp_path / "prompts.txt")
        await pilot.press("enter")
        await until(lambda: screen.prompt.text == "One", pilot)
        await pilot.press("f8")
        assert screen.prompt.text == "Two"
        await pilot.press("enter")
        await until(lambda: screen.prompt.text == "Three", pilot)
        await pilot.press("f5")
        assert screen.replaying.replay is None
        assert screen.prompt.text == ""
        assert len(screen.session.panes) == 2
