"""What tests of the chat screen do again and again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from unittest.mock import patch

from textual.pilot import Pilot

from serve.chats.turns import Speaker
from serve.client import Endpoint, stream_chat
from tests.fakes.openai_server import FakeServer
from tui.app import LuthierApp
from tui.chat.screen import ChatScreen
from tui.chat.transcript import Transcript
from workshop.chat.server import ChatServer
from workshop.chat.streams import Streamer

SPEAKERS = (
    Speaker("base"),
    Speaker("captain", "tuned"),
    Speaker("pirate", "tuned"),
    Speaker("parrot", "tuned"),
)


def make_app(
    find_server: Callable[[], ChatServer | None], stream: Streamer = stream_chat
) -> LuthierApp:
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
async def chat(
    server: FakeServer, size: tuple[int, int] = (100, 30), panes: int = 2
) -> AsyncIterator[tuple[Pilot[None], ChatScreen]]:
    async with make_app(lambda: chat_server(server.endpoint)).run_test(size=size) as pilot:
        await until(
            lambda: (
                isinstance(pilot.app.screen, ChatScreen)
                and pilot.app.screen.session.reachable.server is not None
            ),
            pilot,
        )
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
    return "\n".join(
        strip.text.rstrip()
        for strip in (transcript.render_line(y) for y in range(transcript.size.height))
    )


def states(screen: ChatScreen) -> list[type]:
    return [type(pane.answers[-1].state) for pane in screen.session.panes]


def titles(screen: ChatScreen) -> list[str]:
    return [str(pane.border_title) for pane in screen.sides.panes]


async def to_pane(pilot: Pilot[None], screen: ChatScreen, pane: int) -> None:
    screen.query(Transcript)[pane].focus()
    await pilot.pause()
