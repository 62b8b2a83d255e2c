"""Turns on the chat screen: edited, corrected, continued, too long, looked at through the lens."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from textual.widgets import TextArea

from serve.chats.turns import Complete
from tests.fakes.openai_server import FakeServer
from tests.tui.chat_driving import ask, chat, shown, states, to_pane, until
from tests.tui.driving import screen_text
from tui.chat.context_modal import ContextModal
from tui.chat.correct_modal import CorrectModal
from tui.chat.transcript import Transcript
from tui.shared.error_modal import ErrorModal


@pytest.fixture
def server() -> Iterator[FakeServer]:
    with FakeServer(("base", "captain", "pirate", "parrot")) as running:
        yield running


async def test_a_turn_is_chosen_and_asked_in_other_words(server: FakeServer) -> None:
    async with chat(server) as (pilot, screen):
        for prompt in ("One", "Two", "Three"):
            await ask(pilot, screen, prompt)
        await to_pane(pilot, screen, 0)
        await pilot.press("left_square_bracket", "left_square_bracket")
        assert screen.versions.chosen_answer is not None
        assert (
            screen.versions.chosen_answer.turn.prompt == "One"
            or screen.versions.chosen_answer.turn.prompt == "Two"
        )
        while screen.versions.chosen_answer.turn.prompt != "Two":
            await pilot.press("right_square_bracket")
        await pilot.press("p")
        assert screen.prompt.has_focus
        assert screen.prompt.text == "Two"
        await pilot.press("escape")
        assert screen.prompt.text == ""
        await to_pane(pilot, screen, 0)
        await pilot.press("p")
        screen.prompt.text = "Two and a half"
        await pilot.press("enter")
        await until(lambda: not screen.session.answering, pilot)
        assert [turn.prompt for turn in screen.session.chat.turns] == ["One", "Two and a half"]
        assert [message["content"] for message in server.requests[-1]["messages"]][::2] == [
            "One",
            "Two and a half",
        ]
        assert "Three" not in shown(screen, 1)


async def test_versions_are_gone_through_by_keys(server: FakeServer) -> None:
    async with chat(server) as (pilot, screen):
        await ask(pilot, screen, "One")
        assert "<" not in shown(screen, 0)
        server.answer = lambda model, messages: f"{model} says it again"
        await pilot.press("ctrl+r")
        await until(lambda: not screen.session.answering, pilot)
        assert "< 2/2 > · TTFT" in shown(screen, 0) and "< 2/2 >" in shown(screen, 1)
        await to_pane(pilot, screen, 1)
        await pilot.press("less_than_sign")
        assert "captain says: One" in shown(screen, 1) and "< 1/2 >" in shown(screen, 1)
        assert "base says it again" in shown(screen, 0)
        await pilot.press("less_than_sign")
        assert "< 1/2 >" in shown(screen, 1)
        await pilot.press("full_stop")
        assert "captain says it again" in shown(screen, 1)
        screen.session.hide_names()
        screen.session.chat.blind = True
        screen.show_sides()
        await until(lambda: "< 2/2 >" in shown(screen, 1), pilot)
        assert "TTFT" not in shown(screen, 1)


async def test_an_answer_is_corrected_and_the_chat_goes_on_from_it(server: FakeServer) -> None:
    async with chat(server) as (pilot, screen):
        await ask(pilot, screen, "Hi")
        await to_pane(pilot, screen, 1)
        await pilot.press("w")
        modal = pilot.app.screen
        assert isinstance(modal, CorrectModal)
        modal.query_one(TextArea).text = "Ahoy, matey!"
        await pilot.press("ctrl+s")
        assert "Ahoy, matey!" in shown(screen, 1)
        assert "corrected by you" in shown(screen, 1)
        await ask(pilot, screen, "More")
        sent = {request["model"]: request["messages"] for request in server.requests[2:]}
        assert sent["captain"][1]["content"] == "Ahoy, matey!"


async def test_all_continue_from_one_answer(server: FakeServer) -> None:
    async with chat(server) as (pilot, screen):
        await ask(pilot, screen, "Hi")
        await to_pane(pilot, screen, 1)
        await pilot.press("f")
        await ask(pilot, screen, "More")
        assert {json.dumps(request["messages"]) for request in server.requests[2:]} == {
            json.dumps(server.requests[-1]["messages"])
        }
        assert "continues from the answer of captain" in shown(screen, 0)
        assert "continues from" not in shown(screen, 1)


async def test_reasoning_and_tool_calls_are_folded(server: FakeServer) -> None:
    server.thoughts = "let me think about it"
    server.calls = [("look", '{"where": "aft"}')]
    async with chat(server) as (pilot, screen):
        await ask(pilot, screen, "Hi")
        assert "thought 5 words" in shown(screen, 0)
        assert "let me think" not in shown(screen, 0)
        assert 'calls look({"where": "aft"})' in shown(screen, 0)
        await to_pane(pilot, screen, 0)
        await pilot.press("t")
        assert "let me think about it" in shown(screen, 1)
        await pilot.press("t")
        await ask(pilot, screen, "And?")
        roles = [message["role"] for message in server.requests[-1]["messages"]]
        assert roles == ["user", "assistant", "tool", "user"]


async def test_a_chat_that_is_too_long_says_so_and_leaves_a_choice(server: FakeServer) -> None:
    server.context_words = 12
    async with chat(server) as (pilot, screen):
        for prompt in ("one two", "three"):
            await ask(pilot, screen, prompt)
        await ask(pilot, screen, "four five six")
        modal = pilot.app.screen
        assert isinstance(modal, ContextModal)
        await until(lambda: "more than the 12 that can be" in screen_text(pilot.app), pilot)
        await pilot.press("f")
        await until(lambda: not screen.session.answering, pilot)
        assert pilot.app.screen is screen
        assert states(screen) == [Complete, Complete]
        assert server.requests[-1]["messages"][0]["content"] == "three"
        assert "without the 1 oldest turn" in shown(screen, 0)


# The lens


async def test_the_lens_marks_what_the_tuned_model_makes_likelier(server: FakeServer) -> None:
    server.answer = lambda model, messages: f"{model} sails at dawn"
    server.likelihood = lambda model, word: (
        -0.2 if (model == "captain") == ("sails" in word) else -2.2
    )
    async with chat(server) as (pilot, screen):
        await ask(pilot, screen, "Hi")
        await pilot.press("f3")
        await until(
            lambda: all("likelier to captain" in shown(screen, pane) for pane in (0, 1)), pilot
        )
        marked = screen.query(Transcript)[1].look.marked
        pieces = dict(next(iter(marked.values())).pieces)
        assert pieces[" sails"] == "much-likelier"
        assert pieces[" dawn"] == "much-unlikelier"
        await pilot.press("f3")
        assert "likelier" not in shown(screen, 0)
        await pilot.press("f4")
        assert "1 of 4 words are not in the answer of" in shown(screen, 0)
        assert "1 of 4 words are not in the answer of base" in shown(screen, 1)
        await pilot.press("f4")
        assert "words are not" not in shown(screen, 0)


async def test_the_lens_says_what_it_needs(server: FakeServer) -> None:
    server.fault = None
    async with chat(server) as (pilot, screen):
        await ask(pilot, screen, "Hi")
        server.fault = "garbage"
        await pilot.press("f3")
        await until(lambda: isinstance(pilot.app.screen, ErrorModal), pilot)
        assert "Not a model server" in screen_text(pilot.app)
