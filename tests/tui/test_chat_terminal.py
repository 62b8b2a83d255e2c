"""The app on a real terminal that goes away in mid-answer: closed, told to end, or killed."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from bench.chat import Terminal
from serve.chats import search, store
from serve.chats.turns import Halted, Interrupted
from tests.fakes.openai_server import FakeServer

pytestmark = pytest.mark.heavy


@pytest.fixture
def server() -> Iterator[FakeServer]:
    with FakeServer(("base", "captain"), tokens_per_second=100) as running:
        running.answer = lambda model, messages: " ".join(f"word{index}" for index in range(2000))
        yield running


def gone(pid: int, seconds: float = 10.0) -> None:
    ends = time.monotonic() + seconds
    while os.waitpid(pid, os.WNOHANG) == (0, 0):
        assert time.monotonic() < ends
        time.sleep(0.02)


@pytest.mark.parametrize(
    ("how", "state"), [("closed", Halted), ("SIGTERM", Halted), ("SIGKILL", Interrupted)]
)
def test_what_had_come_is_there_when_the_app_is_opened_again(
    server: FakeServer, home: Path, how: str, state: type
) -> None:
    terminal = Terminal(server.base_url, home / "record.jsonl", str(home))
    terminal.wait_for(b"sk all", 1, 20)
    terminal.drain(0.3)
    os.write(terminal.descriptor, b"go\r")
    terminal.wait_for(b"word90", 2, 20)
    terminal.drain(0.3)  # whatever is on the screen by now
    shown = max(
        int(word[4:])
        for word in terminal.painted.decode(errors="replace").split()
        if word[:4] == "word" and word[4:].isdigit()
    )
    if how == "closed":
        os.close(terminal.descriptor)
    else:
        os.kill(terminal.pid, getattr(signal, how))
    if how == "SIGTERM":
        with suppress(OSError):  # the app has left, and its terminal with it
            terminal.drain(1.0)
    gone(terminal.pid)
    if how != "closed":
        os.close(terminal.descriptor)
    (chat,) = search.chats()
    answers = [pane.answers[0] for pane in store.load(chat.id).panes]
    assert [type(answer.state) for answer in answers] == [state, state]
    for answer in answers:
        words = answer.text.split()
        assert words == [f"word{index}" for index in range(len(words))]
        # less than a flush behind what was painted, and nothing in between
        assert len(words) >= shown - 30
