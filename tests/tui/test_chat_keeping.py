"""Chats of before on the chat screen, and what is written down whatever happens."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from textual.widgets import Input, Static

from serve.chats import search, store
from serve.chats.turns import Halted, Writing
from tests.fakes.openai_server import FakeServer
from tests.tui.chat_driving import ask, chat, shown, states, to_pane, until
from tests.tui.driving import screen_text
from tui.chat.chats_modal import ChatsModal
from tui.shared.confirm_modal import ConfirmModal


@pytest.fixture
def server() -> Iterator[FakeServer]:
    with FakeServer(("base", "captain", "pirate", "parrot")) as running:
        yield running


async def test_a_chat_is_found_opened_and_goes_on(server: FakeServer) -> None:
    async with chat(server) as (pilot, screen):
        await ask(pilot, screen, "Tell me of bowlines")
    async with chat(server) as (pilot, screen):
        await pilot.press("ctrl+l")
        modal = pilot.app.screen
        assert isinstance(modal, ChatsModal)
        await until(lambda: modal.highlighted is not None, pilot)
        modal.query_one(Input).value = "zither"
        await until(
            lambda: (
                "contains all of these words" in str(modal.query_one("#pick-note", Static).content)
            ),
            pilot,
        )
        modal.query_one(Input).value = "bowl says"
        await until(
            lambda: modal.highlighted is not None and "bowlines" in modal.highlighted.text, pilot
        )
        await pilot.press("enter")
        await until(lambda: not screen.session.empty, pilot)
        assert "captain says: Tell me of bowlines" in shown(screen, 1)
        await ask(pilot, screen, "More")
        assert len(server.requests[-1]["messages"]) == 3
        assert screen.journal.flush()
        assert [chat.turns for chat in search.chats()] == [2]


async def test_a_chat_opens_where_the_words_stand_that_found_it(server: FakeServer) -> None:
    server.answer = lambda model, messages: (
        f"{model} knows of bowlines" if messages[-1]["content"] == "First" else "A reef is better."
    )
    async with chat(server) as (pilot, screen):
        await ask(pilot, screen, "First")
        await pilot.press("escape", "p")
        screen.prompt.text = "Second"
        await pilot.press("enter")
        await until(lambda: not screen.session.answering and "Second" in shown(screen, 1), pilot)
        assert "bowlines" not in shown(screen, 0)
    async with chat(server) as (pilot, screen):
        await pilot.press("ctrl+l")
        modal = pilot.app.screen
        assert isinstance(modal, ChatsModal)
        modal.query_one(Input).value = "captain bowlines"
        await until(
            lambda: modal.highlighted is not None and "bowlines" in modal.highlighted.text, pilot
        )
        await pilot.press("enter")
        await until(lambda: not screen.session.empty, pilot)
        assert "captain knows of bowlines" in shown(
            screen, 1
        ) and "base knows of bowlines" in shown(screen, 0)
        assert "< 1/2 >" in shown(screen, 1)


async def test_a_chat_is_deleted_only_when_asked_twice(server: FakeServer) -> None:
    async with chat(server) as (pilot, screen):
        await ask(pilot, screen, "Hi")
        await pilot.press("n" if not screen.prompt.has_focus else "ctrl+n", "ctrl+l")
        modal = pilot.app.screen
        assert isinstance(modal, ChatsModal)
        await until(lambda: modal.highlighted is not None, pilot)
        await pilot.press("ctrl+d")
        assert isinstance(pilot.app.screen, ConfirmModal)
        await pilot.press("n")
        assert len(search.chats()) == 1
        await pilot.press("ctrl+d", "y")
        await until(lambda: "No chats yet" in screen_text(pilot.app), pilot)
        assert search.chats() == []


# Writing down


async def test_leaving_in_mid_answer_keeps_what_came(server: FakeServer) -> None:
    server.tokens_per_second = 30
    server.answer = lambda model, messages: "word " * 300
    async with chat(server) as (pilot, screen):
        await ask(pilot, screen, "Go", wait=False)
        await until(lambda: states(screen) == [Writing, Writing], pilot)
        texts = [pane.answers[-1] for pane in screen.session.panes]
    found = store.load(screen.session.chat.id)
    assert [pane.answers[-1].text for pane in found.panes] == [answer.text for answer in texts]
    assert all(isinstance(pane.answers[-1].state, Halted) for pane in found.panes)


async def test_what_cannot_be_saved_is_told_and_kept(
    server: FakeServer, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("serve.chats.journal._RETRY_SECONDS", 0.05)
    (home / "chats.db").mkdir()  # nothing can be written there
    async with chat(server) as (pilot, screen):
        await ask(pilot, screen, "Hi")
        line = screen.query_one("#unsaved", Static)
        await until(lambda: line.display, pilot)
        assert "Not saved" in screen_text(pilot.app)
        await to_pane(pilot, screen, 0)
        await pilot.press("q")
        assert isinstance(pilot.app.screen, ConfirmModal)
        await pilot.press("n")
        (home / "chats.db").rmdir()
        await until(lambda: not line.display, pilot)
        assert screen.journal.flush()
        assert store.load(screen.session.chat.id).panes[0].answers[0].text == "base says: Hi"
        assert screen.unsaved() == ""
