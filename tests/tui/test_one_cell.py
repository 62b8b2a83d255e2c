"""A chat in a terminal of one cell, with everything in it that is long: nothing blocks. A hostile
session once saw a block of 3.4 s there."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from textual.events import Paste

from tests.fakes.openai_server import FakeServer
from tests.tui.chat_driving import ask, chat
from tests.tui.hostile_session import _PASTES, Watchdog

pytestmark = [pytest.mark.heavy, pytest.mark.timeout(240)]

_KEYS = (
    *("f2", "a", "escape", "f3", "f4", "f9", "escape", "ctrl+l", "escape"),
    *("ctrl+o", "tab", "escape", "escape", "f1", "escape", "ctrl+p", "escape"),
)
_LONG = "\n\n".join(
    (
        "| a | b |\n|---|---|\n" + "| x | " + "y" * 40 + " |\n" * 40,
        "```python\n" + "print('x')\n" * 100 + "```",
        "- item\n" * 60,
        "a **bold** `word` " * 1_000,
    )
)


@pytest.fixture
def server() -> Iterator[FakeServer]:
    with FakeServer(("base", "captain", "pirate", "parrot")) as running:
        yield running


@pytest.mark.parametrize("panes", [2, 4])
async def test_nothing_blocks_a_chat_of_one_cell(server: FakeServer, panes: int) -> None:
    async with chat(server, size=(120, 35), panes=panes) as (pilot, screen):
        with Watchdog() as watchdog:
            await ask(pilot, screen, _LONG)
            for size in ((1, 1), (60, 15), (1, 1), (20, 5), (1, 1)):
                await pilot.resize_terminal(*size)
                await pilot.pause()
            await ask(pilot, screen, _LONG)  # the answers stream in here
            for text in _PASTES:
                screen.prompt.focus()
                screen.prompt.post_message(Paste(text))
                await pilot.press("left", "up")
            for key in _KEYS:
                await pilot.press(key)
            await pilot.resize_terminal(120, 35)
            await pilot.pause()
        assert not watchdog.blocks, "\n".join(watchdog.blocks)
