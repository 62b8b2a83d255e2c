"""Commands in the prompt, the code of an answer, modes and jumping."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.fakes.openai_server import FakeServer
from tests.tui.chat_driving import ask, chat, to_pane, until
from tests.tui.driving import ready, screen_text
from tui.app import LuthierApp
from tui.chat import slash_commands as slash
from tui.chat.code_picker import CodePicker, code_blocks
from tui.chat.settings_form import ChatSettingsModal
from tui.shared.footer import KeyFooter
from tui.shared.help_modal import HelpModal
from tui.shared.jump import JumpOverlay


@pytest.fixture
def server() -> Iterator[FakeServer]:
    with FakeServer(("base", "captain")) as running:
        yield running


def test_commands_are_the_actions_by_their_titles() -> None:
    names = slash.slash_actions()
    assert {"help", "new", "settings", "export", "model", "retry", "copy", "quit"} <= names.keys()
    assert names["retry"].id == "chat.retry" and names["new"].id == "chat.clear"
    assert slash.completed("/sett") == "/settings" and slash.completed("/home/x") == ""
    assert slash.completed("/copy") == "/copy"
    assert [slash.is_command(text) for text in ("/", "/new", " /new", "/tmp/x", "/new you?")] == [
        True,
        True,
        False,
        False,
        False,
    ]
    assert "Did you mean export?" in slash.unknown("/exprt")


async def test_a_command_is_done_and_sent_to_nobody(server: FakeServer) -> None:
    async with chat(server) as (pilot, screen):
        await pilot.press("slash", "s", "e", "t")
        await until(lambda: "/settings" in screen_text(pilot.app), pilot)
        await pilot.press("tab", "enter")
        await until(lambda: isinstance(pilot.app.screen, ChatSettingsModal), pilot)
        await pilot.press("escape")
        assert screen.prompt.has_focus and screen.prompt.text == ""
        await pilot.press(*"/help", "enter")
        await until(lambda: isinstance(pilot.app.screen, HelpModal), pilot)
        await pilot.press("escape")
        await pilot.press(*"/exprt", "enter")
        assert any("There is no /exprt" in note.message for note in pilot.app._notifications)
        assert screen.prompt.text == "/exprt"  # to be put right
        screen.prompt.text = "/skip-prompt"
        await pilot.press("enter")
        await until(
            lambda: any("needs a replay" in note.message for note in pilot.app._notifications),
            pilot,
        )
        assert not server.requests


def test_code_is_copied_without_its_fence() -> None:
    fenced = "```python\nx = 1\n\ny = 2\n```\n\n1. or\n\n   ```\n   ls\n   ```\n"
    first, second = code_blocks(f"Try\n\n{fenced}")
    assert (first.language, first.text) == ("python", "x = 1\n\ny = 2")
    assert second.text == "ls"


async def test_one_of_two_blocks_is_chosen(server: FakeServer) -> None:
    server.answer = lambda model, messages: "```sh\nls\n```\nor\n```sh\nls -a\n```\n"
    async with chat(server) as (pilot, screen):
        await ask(pilot, screen, "How?")
        await to_pane(pilot, screen, 1)
        await pilot.press("y")
        await until(lambda: isinstance(pilot.app.screen, CodePicker), pilot)
        await pilot.press("enter")
        await until(lambda: pilot.app.clipboard == "ls -a", pilot)


async def test_a_mode_has_one_colour(server: FakeServer) -> None:
    async with chat(server) as (pilot, screen):
        await to_pane(pilot, screen, 1)
        assert screen.query_one(KeyFooter).colour == "$primary"
        await pilot.press("b")
        assert screen.query_one(KeyFooter).colour == "$secondary"
        assert " blind " in screen_text(pilot.app).splitlines()[0]
        await pilot.press("b")
        assert screen.query_one(KeyFooter).colour == "$primary"
        assert " blind " not in screen_text(pilot.app).splitlines()[0]


async def test_jumping_goes_to_the_letter(server: FakeServer) -> None:
    async with chat(server) as (pilot, screen):
        assert screen.prompt.has_focus
        await pilot.press("f6")
        assert isinstance(pilot.app.screen, JumpOverlay)
        await pilot.press("a")
        await until(lambda: screen.sides.all_panes[0].transcript.has_focus, pilot)
        await pilot.press("f6", "escape")
        assert not pilot.app.screen.is_modal and screen.sides.all_panes[0].transcript.has_focus


async def test_a_key_that_does_nothing_says_why() -> None:
    app = LuthierApp("serve")
    async with app.run_test() as pilot:
        await ready(pilot)
        await pilot.press("l", "l")
        (note,) = app._notifications
        assert note.message == "Load needs a server that answers."
