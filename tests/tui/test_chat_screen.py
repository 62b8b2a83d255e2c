"""The chat screen against the fake server: a real socket, no model. Asking, stopping, failing, and
its pictures."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from textual.pilot import Pilot
from textual.selection import SELECT_ALL
from textual.widgets import Input, Static, TextArea

from jobs.job import Job
from jobs.luthier_error import LuthierError
from serve.chats import store
from serve.chats.turns import Complete, Failed, Halted, Writing
from serve.client import CallPiece, ChatMessage, Delta, Endpoint, Finished, Sampling
from tests.fakes.openai_server import FakeServer
from tests.tui.chat_driving import (
    SPEAKERS,
    ask,
    chat,
    chat_server,
    make_app,
    shown,
    states,
    to_pane,
    until,
)
from tui.chat.screen import ChatScreen
from tui.chat.settings_form import ChatSettingsModal
from tui.chat.transcript import Transcript
from tui.shared.path_modal import PathModal
from workshop.chat.server import newest_server


@pytest.fixture
def server() -> Iterator[FakeServer]:
    with FakeServer(("base", "captain", "pirate", "parrot")) as running:
        yield running


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
        assert [message["role"] for message in server.requests[-1]["messages"]] == [
            "user",
            "assistant",
            "user",
        ]


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
    server.answer = lambda model, messages: "word " * (4000 if model == "captain" else 2)
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


async def test_a_break_in_the_middle_keeps_what_came(server: FakeServer) -> None:
    server.answer = lambda model, messages: "one two three four five"
    faults: tuple[Any, ...] = ("drop", "half_event", "odd_event", "stream_error", "no_done")
    async with chat(server) as (pilot, screen):
        for fault in faults:
            server.fault = fault
            await ask(pilot, screen, "Count")
            assert states(screen) == [Failed, Failed], fault
            assert "one two three" in shown(screen, 0)
            assert screen.prompt.text == ""
            screen.journal.flush()
            kept = store.load(screen.session.chat.id).panes[0].answers[0]
            assert kept.text == "one two three"
            server.fault = None
            await pilot.press("ctrl+r")
            await until(lambda: not screen.session.answering, pilot)
            assert states(screen) == [Complete, Complete]
            await pilot.press("escape", "n")
            assert screen.session.empty


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


async def test_settings_are_for_all_and_the_prompt_has_the_focus_after_them(
    server: FakeServer,
) -> None:
    async with chat(server) as (pilot, screen):
        await to_pane(pilot, screen, 1)
        await pilot.press("o")
        assert isinstance(pilot.app.screen, ChatSettingsModal)
        await pilot.press("escape")
        await pilot.pause()
        await pilot.press("e")
        assert screen.prompt.text == "e"
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
        assert {(request["temperature"], request["seed"]) for request in server.requests} == {
            (0, 11)
        }
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
        await pilot.press("n")  # typed, not done
        assert screen.prompt.text == "n" and not screen.session.empty
        screen.prompt.text = ""
        await pilot.press("escape", "n")
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


async def test_a_selection_is_copied_while_its_rows_are_made_anew(server: FakeServer) -> None:
    async with chat(server) as (pilot, screen):
        await ask(pilot, screen, "Hi")
        (transcript, *_) = screen.query(Transcript)
        screen.selections = {transcript: SELECT_ALL}
        await pilot.press("ctrl+c")
        assert "base says: Hi" in pilot.app.clipboard
        transcript.notify_style_update()  # as another theme does it
        assert transcript.get_selection(SELECT_ALL) == ("", "\n")
        await pilot.pause()
        text, _ = transcript.get_selection(SELECT_ALL) or ("", "")
        assert "base says: Hi" in text


async def test_without_colours(server: FakeServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    server.answer = lambda model, messages: "# Knots\n\n- a `bowline`\n\n> a reef"
    async with chat(server) as (pilot, screen):
        assert pilot.app.no_color
        await ask(pilot, screen, "Hi")
        assert "a bowline" in shown(screen, 0)
        await pilot.press("f4")


async def test_without_a_server_nothing_dead_is_offered() -> None:
    async with make_app(lambda: None).run_test(size=(80, 24)) as pilot:
        await until(
            lambda: isinstance(pilot.app.screen, ChatScreen) and pilot.app.screen.speakers.looked,
            pilot,
        )
        screen = pilot.app.screen
        assert isinstance(screen, ChatScreen)
        assert "No model to talk to yet" in str(screen.query_one("#no-server", Static).content)
        assert not screen.prompt.display
        offered = [
            active.binding.id
            for active in screen.active_bindings.values()
            if (active.binding.id or "").startswith("chat.")
        ]
        assert set(offered) == {"chat.chats", "chat.model", "chat.statistics"}


def test_the_newest_server_with_one_name_for_its_base(jobs_by_name: dict[str, Job]) -> None:
    found = newest_server()
    assert found is not None
    base, tuned = found.default_speakers()
    assert base == found.speakers[0]
    assert tuned.kind == "tuned"
    assert [speaker.kind for speaker in found.speakers].count("base") == 1


# Pictures

_ANSWERS = {
    ("base", 1): "I can help with that. Could you tell me more about what you would like to know?",
    (
        "captain",
        1,
    ): (
        "Ahoy! **Three** things a captain needs:\n\n1. a fair wind\n2. a true compass\n3. a crew"
        " that *sings*\n\nThe rest be luck."
    ),
    (
        "base",
        2,
    ): (
        "# Knots\n\nThe bowline, in `rope`:\n\n```python\ndef bowline(rope):\n    return"
        " rope.loop().around().back()\n```\n\n> 你好 🙂\n"
    ),
    (
        "captain",
        2,
    ): (
        "Arr, me hearty: the bowline. It never slips and it never jams, be the night ever so foul"
        " and the rope ever so wet."
    ),
}


async def fixed_stream(
    endpoint: Endpoint,
    model: str,
    messages: list[ChatMessage],
    sampling: Sampling,
    tools: Sequence[dict[str, object]] = (),
) -> AsyncIterator[Delta | Finished]:
    turn = (len(messages) + 1) // 2
    if messages[-1]["content"] == "Break":
        yield Delta("It began well")
        raise LuthierError(
            "The answer broke off",
            "The connection to http://127.0.0.1:8000 was lost.",
            "The server may have stopped.",
        )
    if model == "pirate":
        yield Delta("", "The captain asks, so I think of ropes.")
        yield Delta("", calls=(CallPiece(0, "call-1", "look_up", '{"word": "bowline"}'),))
    else:
        yield Delta(_ANSWERS.get((model, turn), "Polly wants a cracker."))
    yield Finished("stop", 20, 24 * turn, 0.083 if model == "base" else 0.091, 0.6)


@pytest.mark.parametrize("size", [(80, 24), (140, 40)], ids=["80x24", "140x40"])
def test_picture(size: tuple[int, int], snap_compare: Any) -> None:
    async def talk(pilot: Pilot[None]) -> None:
        await until(
            lambda: (
                isinstance(pilot.app.screen, ChatScreen)
                and pilot.app.screen.session.reachable.server is not None
            ),
            pilot,
        )
        screen = pilot.app.screen
        assert isinstance(screen, ChatScreen)
        screen.prompt.cursor_blink = False
        for text in ("What does a captain need?", "Which knot is best?", "Break")[
            : 3 if size[0] > 80 else 2
        ]:
            await ask(pilot, screen, text)

    app = make_app(lambda: chat_server(Endpoint("http://127.0.0.1:8000", "key")), fixed_stream)
    assert snap_compare(app, terminal_size=size, run_before=talk)


def test_picture_of_four_panes(snap_compare: Any) -> None:
    async def talk(pilot: Pilot[None]) -> None:
        await until(
            lambda: (
                isinstance(pilot.app.screen, ChatScreen)
                and pilot.app.screen.session.reachable.server is not None
            ),
            pilot,
        )
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
        await until(
            lambda: isinstance(pilot.app.screen, ChatScreen) and pilot.app.screen.speakers.looked,
            pilot,
        )

    assert snap_compare(make_app(lambda: None), terminal_size=(80, 24), run_before=wait)
