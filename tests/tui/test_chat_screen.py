"""The chat screen against the fake server: a real socket, no model."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from textual.pilot import Pilot
from textual.widgets import Input, Static, TextArea

from jobs.errors import LuthierError
from jobs.job import Job
from serve.chats import search, store
from serve.chats.turns import REFERENCE, Complete, Failed, Given, Halted, Speaker, Writing
from serve.client import CallPiece, ChatMessage, Delta, Endpoint, Finished, Sampling, stream_chat
from serve.votes.report import quick_report
from tests.fakes.openai_server import FAKE_KEY, FakeServer
from tests.tui.driving import screen_text
from tui.app import LuthierApp
from tui.chat_server import ChatServer, newest_server
from tui.chat_session import Streamer
from tui.screens.chat import ChatScreen
from tui.widgets.chat_settings import ChatSettingsModal
from tui.widgets.chat_sides import arrange
from tui.widgets.chats_modal import ChatsModal
from tui.widgets.confirm_modal import ConfirmModal
from tui.widgets.context_modal import ContextModal
from tui.widgets.correct_modal import CorrectModal
from tui.widgets.endpoint_form import EndpointForm
from tui.widgets.error_modal import ErrorModal
from tui.widgets.model_picker import ModelPicker
from tui.widgets.path_modal import PathModal
from tui.widgets.replay_form import ReplayModal
from tui.widgets.transcript import Transcript
from tui.widgets.vote_modal import VoteModal
from tui.widgets.votes_modal import VotesModal

SPEAKERS = (Speaker("base"), Speaker("captain", "tuned"), Speaker("pirate", "tuned"), Speaker("parrot", "tuned"))


@pytest.fixture
def server() -> Iterator[FakeServer]:
    with FakeServer(("base", "captain", "pirate", "parrot")) as running:
        yield running


def make_app(find_server: Callable[[], ChatServer | None], stream: Streamer = stream_chat) -> LuthierApp:
    with patch.dict(LuthierApp.MODES, {"chat": lambda: ChatScreen(find_server, stream)}):
        return LuthierApp(start_screen="chat")


def chat_server(endpoint: Endpoint, context_length: int | None = 4096) -> ChatServer:
    return ChatServer(endpoint, SPEAKERS, context_length)


async def until(condition: Callable[[], bool], pilot: Pilot[None]) -> None:
    async with asyncio.timeout(8):
        while not condition():
            await asyncio.sleep(0.01)
    await pilot.pause()


@asynccontextmanager
async def chat(server: FakeServer, size: tuple[int, int] = (100, 30), panes: int = 2) -> AsyncIterator[tuple[Pilot[None], ChatScreen]]:
    async with make_app(lambda: chat_server(server.endpoint)).run_test(size=size) as pilot:
        await until(lambda: isinstance(pilot.app.screen, ChatScreen) and pilot.app.screen.server is not None, pilot)
        screen = pilot.app.screen
        assert isinstance(screen, ChatScreen)
        for speaker in SPEAKERS[2:panes]:
            screen.session.add_pane(speaker)
        screen.show_sides()
        yield pilot, screen


async def ask(pilot: Pilot[None], screen: ChatScreen, text: str, wait: bool = True) -> None:
    screen.prompt.focus()
    screen.prompt.text = text
    await pilot.press("enter")
    if wait:
        await until(lambda: not screen.session.answering, pilot)


def shown(screen: ChatScreen, pane: int) -> str:
    transcript = screen.query(Transcript)[pane]
    return "\n".join(strip.text.rstrip() for strip in (transcript.render_line(y) for y in range(transcript.size.height)))


def states(screen: ChatScreen) -> list[type]:
    return [type(pane.answers[-1].state) for pane in screen.session.panes]


def titles(screen: ChatScreen) -> list[str]:
    return [str(pane.border_title) for pane in screen.sides.panes]


async def to_pane(pilot: Pilot[None], screen: ChatScreen, pane: int) -> None:
    screen.query(Transcript)[pane].focus()
    await pilot.pause()


async def test_all_answer_at_once_with_one_seed(server: FakeServer) -> None:
    async with chat(server) as (pilot, screen):
        assert screen.prompt.has_focus
        await ask(pilot, screen, "Hi")
        assert {request["model"] for request in server.requests} == {"base", "captain"}
        assert len({request["seed"] for request in server.requests}) == 1
        assert "base says: Hi" in shown(screen, 0)
        assert "captain says: Hi" in shown(screen, 1)
        assert "TTFT" in shown(screen, 1)
        assert "3 tokens" in shown(screen, 1)
        assert screen.sides.all_panes[0].border_subtitle == "4 of 4,096 tokens"
        assert screen.prompt.text == ""
        await ask(pilot, screen, "And now?")
        assert [message["role"] for message in server.requests[-1]["messages"]] == ["user", "assistant", "user"]


async def test_escape_stops_first_and_goes_back_only_then(server: FakeServer) -> None:
    server.tokens_per_second = 20
    server.answer = lambda model, messages: "word " * 200
    async with chat(server) as (pilot, screen):
        await ask(pilot, screen, "Go", wait=False)
        await until(lambda: states(screen) == [Writing, Writing], pilot)
        await ask(pilot, screen, "not yet", wait=False)
        assert screen.prompt.text == "not yet"
        await pilot.press("escape")
        assert states(screen) == [Halted, Halted]
        await until(lambda: server.cancelled == 2, pilot)
        assert screen.prompt.has_focus
        assert "stopped by you" in shown(screen, 0)
        await pilot.press("escape")
        assert isinstance(screen.focused, Transcript)


async def test_one_pane_is_stopped_and_asked_again_alone(server: FakeServer) -> None:
    server.answer = lambda model, messages: "word " * (400 if model == "captain" else 2)
    server.tokens_per_second = 100
    async with chat(server) as (pilot, screen):
        await ask(pilot, screen, "Go", wait=False)
        await until(lambda: states(screen) == [Complete, Writing], pilot)
        await to_pane(pilot, screen, 1)
        await pilot.press("s")
        assert states(screen) == [Complete, Halted]
        server.answer = lambda model, messages: "Short."
        await pilot.press("r")
        await until(lambda: not screen.session.answering, pilot)
        assert server.requests[2]["model"] == "captain"
        assert server.requests[2]["seed"] == server.requests[1]["seed"]
        assert "Short." in shown(screen, 1)


async def test_a_failure_is_told_and_the_prompt_comes_back(server: FakeServer) -> None:
    server.fault = "unauthorized"
    async with chat(server) as (pilot, screen):
        await ask(pilot, screen, "Hi there")
        assert states(screen) == [Failed, Failed]
        assert "does not accept the key" in shown(screen, 0)
        assert "^r asks again" in shown(screen, 1)
        assert screen.prompt.text == "Hi there"
        server.fault = None
        await pilot.press("enter")
        await until(lambda: not screen.session.answering, pilot)
        assert [len(pane.answers) for pane in screen.session.panes] == [1, 1]
        assert "base says: Hi there" in shown(screen, 0)


@pytest.mark.parametrize("fault", ["drop", "half_event", "odd_event", "stream_error", "no_done"])
async def test_a_break_in_the_middle_keeps_what_came(server: FakeServer, fault: Any) -> None:
    server.fault = fault
    server.answer = lambda model, messages: "one two three four five"
    async with chat(server) as (pilot, screen):
        await ask(pilot, screen, "Count")
        assert states(screen) == [Failed, Failed]
        assert "one two three" in shown(screen, 0)
        assert screen.prompt.text == ""
        screen.journal.flush()
        assert store.load(screen.session.chat.id).panes[0].answers[0].text == "one two three"
        server.fault = None
        await pilot.press("ctrl+r")
        await until(lambda: not screen.session.answering, pilot)
        assert states(screen) == [Complete, Complete]


async def test_a_server_that_hangs_can_be_left(server: FakeServer) -> None:
    server.fault = "hang"
    server.answer = lambda model, messages: "one two three four five"
    async with chat(server) as (pilot, screen):
        await ask(pilot, screen, "Count", wait=False)
        await until(lambda: states(screen) == [Writing, Writing], pilot)
        await until(lambda: "one two three" in shown(screen, 1), pilot)
        await pilot.press("escape")
        assert states(screen) == [Halted, Halted]
        await until(lambda: server.cancelled == 2, pilot)
        server.fault = "silent"
        await ask(pilot, screen, "And now?", wait=False)
        await until(lambda: "waiting for the first token" in shown(screen, 0), pilot)
        await pilot.press("ctrl+s")
        assert not screen.session.answering


async def test_settings_are_for_all(server: FakeServer) -> None:
    async with chat(server) as (pilot, screen):
        await pilot.press("ctrl+o")
        modal = pilot.app.screen
        assert isinstance(modal, ChatSettingsModal)
        modal.query_one("#temperature", Input).value = "hot"
        await pilot.press("ctrl+s")
        assert str(modal.query_one("#temperature-error", Static).content) == "from 0 to 2"
        modal.query_one("#temperature", Input).value = "0"
        modal.query_one("#seed", Input).value = "11"
        modal.query_one("#system", TextArea).text = "Be brief."
        await pilot.press("ctrl+s")
        await ask(pilot, screen, "Hi")
        assert {(request["temperature"], request["seed"]) for request in server.requests} == {(0, 11)}
        assert {request["messages"][0]["content"] for request in server.requests} == {"Be brief."}


async def test_new_chat_export_and_copy(server: FakeServer, tmp_path: Path) -> None:
    async with chat(server) as (pilot, screen):
        await ask(pilot, screen, "Hi")
        await to_pane(pilot, screen, 1)
        await pilot.press("c")
        assert pilot.app.clipboard == "captain says: Hi"
        await pilot.press("e")
        assert isinstance(pilot.app.screen, PathModal)
        pilot.app.screen.query_one(Input).value = str(tmp_path / "chat.jsonl")
        await pilot.press("enter")
        assert len((tmp_path / "chat.jsonl").read_text().splitlines()) == 2
        await pilot.press("n")
        assert screen.session.empty
        await pilot.press("n")
        assert "captain says: Hi" in shown(screen, 1)


async def test_follows_the_end_only_while_there(server: FakeServer) -> None:
    server.answer = lambda model, messages: "\n\n".join(f"{index}" for index in range(120))
    server.tokens_per_second = 150
    async with chat(server) as (pilot, screen):
        left, right, *_ = screen.query(Transcript)
        await ask(pilot, screen, "Count", wait=False)
        await until(lambda: right.max_scroll_y > 10, pilot)
        right.scroll_to(y=3, animate=False)
        await until(lambda: not screen.session.answering, pilot)
        assert right.scroll_y == 3
        assert left.scroll_y == left.max_scroll_y > 100


# Panes


@pytest.mark.parametrize(
    ("count", "size", "active", "alone", "shown_panes", "shape"),
    [
        (2, (80, 20), 0, False, [0, 1], "row"),
        (3, (80, 20), 0, False, [0, 1], "row"),
        (3, (80, 20), 2, False, [1, 2], "row"),
        (3, (118, 28), 0, False, [0, 1, 2], "row"),
        (4, (118, 28), 1, False, [0, 1, 2, 3], "square"),
        (4, (118, 18), 3, False, [1, 2, 3], "row"),
        (4, (160, 28), 3, False, [0, 1, 2, 3], "row"),
        (4, (160, 28), 2, True, [2], "row"),
        (2, (30, 20), 1, False, [1], "row"),
    ],
)
def test_as_many_panes_as_are_readable(
    count: int, size: tuple[int, int], active: int, alone: bool, shown_panes: list[int], shape: str
) -> None:
    assert (list(arrange(count, *size, active, alone)[0]), arrange(count, *size, active, alone)[1]) == (shown_panes, shape)


async def test_panes_that_have_no_room_are_tabs(server: FakeServer) -> None:
    async with chat(server, size=(80, 24), panes=3) as (pilot, screen):
        await ask(pilot, screen, "Hi")
        assert [pane.display for pane in screen.sides.all_panes] == [True, True, False, False]
        assert "pirate" in str(screen.query_one("#tabs", Static).content)
        await to_pane(pilot, screen, 1)
        await pilot.press("right")
        assert [pane.display for pane in screen.sides.all_panes] == [False, True, True, False]
        assert "pirate says: Hi" in shown(screen, 2)
        await pilot.press("z")
        assert [pane.display for pane in screen.sides.all_panes] == [False, False, True, False]
        await pilot.press("z", "right")
        assert screen.sides.active == 0
        assert screen.sides.all_panes[0].transcript.has_focus


async def test_a_model_is_chosen_added_and_taken_away(server: FakeServer) -> None:
    async with chat(server) as (pilot, screen):
        await to_pane(pilot, screen, 0)
        await pilot.press("m")
        picker = the_picker(pilot)
        await until(lambda: picker.highlighted is not None, pilot)
        picker.query_one(Input).value = "pirate"
        await pilot.pause()
        await pilot.press("enter")
        assert titles(screen) == ["● pirate", "○ captain"]
        await pilot.press("plus")
        picker = the_picker(pilot)
        await until(lambda: picker.highlighted is not None, pilot)
        await pilot.press("down", "down", "down", "enter")
        assert titles(screen) == ["● pirate", "○ captain", "◆ parrot"]
        await ask(pilot, screen, "Hi")
        assert {request["model"] for request in server.requests} == {"pirate", "captain", "parrot"}
        await to_pane(pilot, screen, 1)
        await pilot.press("minus")
        assert titles(screen) == ["● pirate", "○ parrot"]
        assert "parrot says: Hi" in shown(screen, 1)


async def test_a_hosted_model_is_named_and_asked(server: FakeServer, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAKE_HOST_KEY", FAKE_KEY)
    async with chat(server) as (pilot, screen):
        await to_pane(pilot, screen, 1)
        await pilot.press("m", "ctrl+n")
        form = pilot.app.screen
        assert isinstance(form, EndpointForm)
        for key, value in (("name", "host"), ("url", f"{server.base_url}/v1"), ("key", "ABSENT_KEY")):
            form.field(key).query_one(Input).value = value
        await pilot.press("enter")
        assert "ABSENT_KEY" in screen_text(pilot.app)
        form.field("key").query_one(Input).value = "FAKE_HOST_KEY"
        await pilot.press("enter")
        await until(lambda: bool(screen.reachable.hosted), pilot)
        await to_pane(pilot, screen, 1)
        await pilot.press("m")
        picker = the_picker(pilot)
        await until(lambda: any(pick.value.speaker.where for pick in picker._picks), pilot)
        picker.query_one(Input).value = "parrot host"
        await pilot.pause()
        await pilot.press("enter")
        assert titles(screen)[1] == "○ parrot (host)"
        await ask(pilot, screen, "Hi")
        assert "parrot says: Hi" in shown(screen, 1)
        assert screen.journal.flush()
        assert FAKE_KEY.encode() not in b"".join(path.read_bytes() for path in home.rglob("chats.db*"))


async def test_without_a_server_hosted_models_can_talk(server: FakeServer, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAKE_HOST_KEY", FAKE_KEY)
    (home / "config.toml").write_text(f'[endpoints.host]\nurl = "{server.base_url}"\nkey_env = "FAKE_HOST_KEY"\n')
    async with make_app(lambda: None).run_test(size=(100, 30)) as pilot:
        await until(lambda: isinstance(pilot.app.screen, ChatScreen) and bool(pilot.app.screen.reachable), pilot)
        screen = pilot.app.screen
        assert isinstance(screen, ChatScreen)
        for _ in range(2):
            screen.action_model()
            await pilot.pause()
            await pick_first(pilot)
            screen.sides.active = 0
        await ask(pilot, screen, "Hi")
        assert "base says: Hi" in shown(screen, 0)


def the_picker(pilot: Pilot[None]) -> ModelPicker:
    picker = pilot.app.screen
    assert isinstance(picker, ModelPicker)
    return picker


async def pick_first(pilot: Pilot[None]) -> None:
    picker = the_picker(pilot)
    await until(lambda: picker.highlighted is not None, pilot)
    await pilot.press("enter")


# Turns


async def test_a_turn_is_chosen_and_asked_in_other_words(server: FakeServer) -> None:
    async with chat(server) as (pilot, screen):
        for prompt in ("One", "Two", "Three"):
            await ask(pilot, screen, prompt)
        await to_pane(pilot, screen, 0)
        await pilot.press("left_square_bracket", "left_square_bracket")
        assert screen.chosen_answer is not None
        assert screen.chosen_answer.turn.prompt == "One" or screen.chosen_answer.turn.prompt == "Two"
        while screen.chosen_answer.turn.prompt != "Two":
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
        assert [message["content"] for message in server.requests[-1]["messages"]][::2] == ["One", "Two and a half"]
        assert "Three" not in shown(screen, 1)


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
        assert {json.dumps(request["messages"]) for request in server.requests[2:]} == {json.dumps(server.requests[-1]["messages"])}
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
    server.likelihood = lambda model, word: -0.2 if (model == "captain") == ("sails" in word) else -2.2
    async with chat(server) as (pilot, screen):
        await ask(pilot, screen, "Hi")
        await pilot.press("f3")
        await until(lambda: all("likelier to captain" in shown(screen, pane) for pane in (0, 1)), pilot)
        marked = screen.query(Transcript)[1].look.marked
        pieces = dict(next(iter(marked.values())).pieces)
        assert pieces[" sails"] == "much-likelier"
        assert pieces[" dawn"] == "much-unlikelier"
        await pilot.press("f3")
        assert "likelier" not in shown(screen, 0)
        await pilot.press("f4")
        assert "1 of 4 words are not in the answer of captain" in shown(screen, 0)
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
        assert "Not a server of models" in screen_text(pilot.app)


# Votes


async def test_a_blind_vote_is_cast_and_counted(server: FakeServer) -> None:
    async with chat(server) as (pilot, screen):
        await to_pane(pilot, screen, 0)
        await pilot.press("b")
        await ask(pilot, screen, "Hi")
        assert titles(screen) == ["● A", "○ B"]
        assert "TTFT" not in shown(screen, 0)
        assert not any(name in str(screen.query_one("#side-0").border_subtitle) for name in ("tokens", "base"))
        await pilot.press("f2")
        assert isinstance(pilot.app.screen, VoteModal)
        await pilot.press("b")
        await until(lambda: bool(screen.session.chat.votes), pilot)
        for letter in "fits":
            await pilot.press(letter)
        await pilot.press("enter")
        (vote,) = screen.session.chat.votes.values()
        assert (vote.verdict, vote.choice, vote.blind, vote.reason) == ("better", screen.session.panes[1].answers[0].id, True, "fits")
        assert screen.prompt.has_focus
        assert screen.journal.flush()
        report = quick_report()
        assert (report.blind, report.duels[0].wins) == (1, 1)
        await to_pane(pilot, screen, 0)
        await pilot.press("b")
        assert sorted(titles(screen)) == sorted(
            [f"{sign} {pane.speaker.label}" for sign, pane in zip("●○", screen.session.panes, strict=True) if pane.speaker]
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


async def test_what_the_votes_say_is_shown(server: FakeServer) -> None:
    async with chat(server) as (pilot, screen):
        await ask(pilot, screen, "Hi")
        await pilot.press("f2", "b", "enter", "f9")
        modal = pilot.app.screen
        assert isinstance(modal, VotesModal)
        await until(lambda: "No blind votes yet" in screen_text(pilot.app), pilot)
        await pilot.press("n")
        await until(lambda: "captain against base" in screen_text(pilot.app), pilot)
        assert "5 more votes would decide it" in screen_text(pilot.app)


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


async def test_held_out_conversations_are_replayed_beside_their_answers(server: FakeServer, tmp_path: Path) -> None:
    rows = [
        [("user", "Hi"), ("assistant", "Ahoy from the data"), ("user", "And?"), ("assistant", "Farewell")],
        [("user", "Alone"), ("assistant", "Aye")],
    ]
    path = tmp_path / "heldout.jsonl"
    path.write_text("".join(json.dumps({"messages": [{"role": role, "content": text} for role, text in row]}) + "\n" for row in rows))
    async with chat(server, size=(120, 34)) as (pilot, screen):
        await pilot.press("f5")
        modal = pilot.app.screen
        assert isinstance(modal, ReplayModal)
        modal.query_one(Input).value = str(tmp_path / "absent.jsonl")
        await pilot.press("enter")
        await until(lambda: "absent.jsonl" in str(modal.query_one("#pick-note", Static).content), pilot)
        modal.query_one(Input).value = str(path)
        await pilot.press("enter")
        await until(lambda: screen.replay is not None and screen.prompt.text == "Hi", pilot)
        assert [pane.speaker for pane in screen.session.panes][2] == REFERENCE
        assert "1 of 2, turn 1 of 2" in str(screen.prompt.border_subtitle)
        await pilot.press("enter")
        await until(lambda: screen.prompt.text == "And?", pilot)
        assert "Ahoy from the data" in shown(screen, 2)
        assert type(screen.session.panes[2].answers[0].state) is Given
        await pilot.press("enter")
        await until(lambda: screen.prompt.text == "Alone", pilot)
        assert [message["content"] for message in server.requests[-1]["messages"]][::2] == ["Hi", "And?"]
        first = screen.session.chat.id
        await pilot.press("enter")
        await until(lambda: not screen.session.answering and screen.replay is None, pilot)
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
        assert screen.replay is None
        assert screen.prompt.text == ""
        assert len(screen.session.panes) == 2


# Chats of before


async def test_a_chat_is_found_opened_and_goes_on(server: FakeServer) -> None:
    async with chat(server) as (pilot, screen):
        await ask(pilot, screen, "Tell me of bowlines")
    async with chat(server) as (pilot, screen):
        await pilot.press("ctrl+l")
        modal = pilot.app.screen
        assert isinstance(modal, ChatsModal)
        await until(lambda: modal.highlighted is not None, pilot)
        modal.query_one(Input).value = "zither"
        await until(lambda: "No text has all these words" in str(modal.query_one("#pick-note", Static).content), pilot)
        modal.query_one(Input).value = "bowl says"
        await until(lambda: modal.highlighted is not None and "bowlines" in modal.highlighted.text, pilot)
        await pilot.press("enter")
        await until(lambda: not screen.session.empty, pilot)
        assert "captain says: Tell me of bowlines" in shown(screen, 1)
        await ask(pilot, screen, "More")
        assert len(server.requests[-1]["messages"]) == 3
        assert screen.journal.flush()
        assert [chat.turns for chat in search.chats()] == [2]


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


async def test_what_cannot_be_saved_is_told_and_kept(server: FakeServer, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
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


async def test_without_a_server_nothing_dead_is_offered() -> None:
    async with make_app(lambda: None).run_test(size=(80, 24)) as pilot:
        await until(lambda: isinstance(pilot.app.screen, ChatScreen) and pilot.app.screen.looked, pilot)
        screen = pilot.app.screen
        assert isinstance(screen, ChatScreen)
        assert "No server is running" in str(screen.query_one("#no-server", Static).content)
        assert not screen.prompt.display
        offered = [active.binding.id for active in screen.active_bindings.values() if (active.binding.id or "").startswith("chat.")]
        assert set(offered) == {"chat.chats", "chat.model", "chat.statistics"}


def test_the_newest_server_with_one_name_for_its_base(made: dict[str, Job]) -> None:
    found = newest_server()
    assert found is not None
    base, tuned = found.default_speakers()
    assert base == found.speakers[0]
    assert tuned.kind == "tuned"
    assert [speaker.kind for speaker in found.speakers].count("base") == 1
    assert found.speaker_after(found.speakers[-1]) == base


# Pictures

_ANSWERS = {
    ("base", 1): "I can help with that. Could you tell me more about what you would like to know?",
    (
        "captain",
        1,
    ): "Ahoy! **Three** things a captain needs:\n\n1. a fair wind\n2. a true compass\n3. a crew that *sings*\n\nThe rest be luck.",
    (
        "base",
        2,
    ): "# Knots\n\nThe bowline, in `rope`:\n\n```python\ndef bowline(rope):\n    return rope.loop().around().back()\n```\n\n> 你好 🙂\n",
    ("captain", 2): "Arr, me hearty: the bowline. It never slips and it never jams, be the night ever so foul and the rope ever so wet.",
}


async def fixed_stream(
    endpoint: Endpoint, model: str, messages: list[ChatMessage], sampling: Sampling, tools: Sequence[dict[str, object]] = ()
) -> AsyncIterator[Delta | Finished]:
    turn = (len(messages) + 1) // 2
    if messages[-1]["content"] == "Break":
        yield Delta("It began well")
        raise LuthierError("The answer broke off", "The connection to http://127.0.0.1:8000 was lost.", "The server may have stopped.")
    if model == "pirate":
        yield Delta("", "The captain asks, so I think of ropes.")
        yield Delta("", calls=(CallPiece(0, "call-1", "look_up", '{"word": "bowline"}'),))
    else:
        yield Delta(_ANSWERS.get((model, turn), "Polly wants a cracker."))
    yield Finished("stop", 20, 24 * turn, 0.083 if model == "base" else 0.091, 0.6)


@pytest.mark.parametrize("size", [(80, 24), (140, 40)], ids=["80x24", "140x40"])
def test_picture(size: tuple[int, int], snap_compare: Any) -> None:
    async def talk(pilot: Pilot[None]) -> None:
        await until(lambda: isinstance(pilot.app.screen, ChatScreen) and pilot.app.screen.server is not None, pilot)
        screen = pilot.app.screen
        assert isinstance(screen, ChatScreen)
        screen.prompt.cursor_blink = False
        for text in ("What does a captain need?", "Which knot is best?", "Break")[: 3 if size[0] > 80 else 2]:
            await ask(pilot, screen, text)

    app = make_app(lambda: chat_server(Endpoint("http://127.0.0.1:8000", "key")), fixed_stream)
    assert snap_compare(app, terminal_size=size, run_before=talk)


def test_picture_of_four_panes(snap_compare: Any) -> None:
    async def talk(pilot: Pilot[None]) -> None:
        await until(lambda: isinstance(pilot.app.screen, ChatScreen) and pilot.app.screen.server is not None, pilot)
        screen = pilot.app.screen
        assert isinstance(screen, ChatScreen)
        screen.prompt.cursor_blink = False
        for speaker in SPEAKERS[2:]:
            screen.session.add_pane(speaker)
        screen.show_sides()
        await ask(pilot, screen, "What does a captain need?")

    app = make_app(lambda: chat_server(Endpoint("http://127.0.0.1:8000", "key")), fixed_stream)
    assert snap_compare(app, terminal_size=(120, 34), run_before=talk)


def test_picture_without_a_server(snap_compare: Any) -> None:
    async def wait(pilot: Pilot[None]) -> None:
        await until(lambda: isinstance(pilot.app.screen, ChatScreen) and pilot.app.screen.looked, pilot)

    assert snap_compare(make_app(lambda: None), terminal_size=(80, 24), run_before=wait)
