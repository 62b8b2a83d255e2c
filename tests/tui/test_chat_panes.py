"""The panes of the chat screen: how many fit, who speaks in them, hosted models."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from textual.pilot import Pilot
from textual.widgets import Input, Static

from tests.fakes.openai_server import FAKE_KEY, FakeServer
from tests.tui.chat_driving import ask, chat, make_app, shown, titles, to_pane, until
from tests.tui.driving import screen_text
from tui.chat.endpoint_form import EndpointForm
from tui.chat.model_picker import ModelPicker
from tui.chat.screen import ChatScreen
from tui.chat.sides import arrange


@pytest.fixture
def server() -> Iterator[FakeServer]:
    with FakeServer(("base", "captain", "pirate", "parrot")) as running:
        yield running


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
    assert (
        list(arrange(count, *size, active, alone)[0]),
        arrange(count, *size, active, alone)[1],
    ) == (shown_panes, shape)


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
        assert screen.prompt.has_focus  # what is typed now acts on nothing
        await pilot.press("escape", "plus")
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


async def test_a_hosted_model_is_named_and_asked(
    server: FakeServer, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_HOST_KEY", FAKE_KEY)
    async with chat(server) as (pilot, screen):
        await to_pane(pilot, screen, 1)
        await pilot.press("m", "ctrl+n")
        form = pilot.app.screen
        assert isinstance(form, EndpointForm)
        for key, value in (
            ("name", "host"),
            ("url", f"{server.base_url}/v1"),
            ("key", "ABSENT_KEY"),
        ):
            form.field(key).query_one(Input).value = value
        await pilot.press("enter")
        assert "ABSENT_KEY" in screen_text(pilot.app)
        form.field("key").query_one(Input).value = "FAKE_HOST_KEY"
        await pilot.press("enter")
        await until(lambda: isinstance(pilot.app.screen, ModelPicker), pilot)
        picker = the_picker(pilot)
        await until(lambda: any(pick.value.speaker.where for pick in picker._picks), pilot)
        picker.query_one(Input).value = "parrot host"
        await pilot.pause()
        await pilot.press("enter")
        assert titles(screen)[1] == "○ parrot (host)"
        await ask(pilot, screen, "Hi")
        assert "parrot says: Hi" in shown(screen, 1)
        assert screen.journal.flush()
        assert FAKE_KEY.encode() not in b"".join(
            path.read_bytes() for path in home.rglob("chats.db*")
        )


async def test_without_a_server_hosted_models_can_talk(
    server: FakeServer, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_HOST_KEY", FAKE_KEY)
    (home / "config.toml").write_text(
        f'[endpoints.host]\nurl = "{server.base_url}"\nkey_env = "FAKE_HOST_KEY"\n'
    )
    async with make_app(lambda: None).run_test(size=(100, 30)) as pilot:
        await until(
            lambda: (
                isinstance(pilot.app.screen, ChatScreen)
                and bool(pilot.app.screen.session.reachable)
            ),
            pilot,
        )
        screen = pilot.app.screen
        assert isinstance(screen, ChatScreen)
        for _ in range(2):
            screen.speakers.pick(screen.sides.active)
            await pilot.pause()
            await pick_first(pilot)
        assert all(pane.speaker is not None for pane in screen.session.panes)  # from the left
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
