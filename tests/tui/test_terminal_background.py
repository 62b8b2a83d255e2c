"""Whether the terminal is light: asked on a terminal that answers, and one that does not."""

from __future__ import annotations

import os
import pty
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tui.terminal_background import asked

WHITE, BLACK = b"\x1b]11;rgb:ffff/fafa/f0f0\x1b\\", b"\x1b]11;rgb:1616/1515/1212\x07"
KIND = b"\x1b[?62;22c"


@contextmanager
def on_a_terminal(monkeypatch: pytest.MonkeyPatch, kind: str = "xterm-256color") -> Iterator[int]:
    """The other side of the terminal that this process is on. In the test's body: pytest puts its
    own streams in place when a fixture is done."""
    leader, follower = pty.openpty()
    name = Path(os.ttyname(follower))
    with name.open(encoding="ascii") as source, name.open("w", encoding="ascii") as target:
        monkeypatch.setattr(sys, "stdin", source)
        monkeypatch.setattr(sys, "stderr", target)
        monkeypatch.setenv("TERM", kind)
        monkeypatch.delenv("COLORFGBG", raising=False)
        yield leader
    os.close(leader)
    os.close(follower)


@pytest.mark.parametrize(
    ("answer", "is_light"), [(WHITE + KIND, True), (BLACK + KIND, False), (KIND, False)]
)
def test_the_terminals_answer_is_taken(
    monkeypatch: pytest.MonkeyPatch, answer: bytes, is_light: bool
) -> None:
    with on_a_terminal(monkeypatch) as terminal:
        with asked(wait_seconds=5) as background:
            assert b"\x1b]11;?" in os.read(terminal, 100)
            os.write(terminal, answer)
        assert background.is_light is is_light


def test_a_silent_terminal_holds_up_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    with on_a_terminal(monkeypatch) as terminal:
        monkeypatch.setenv("COLORFGBG", "0;15")
        start = time.monotonic()
        with asked(wait_seconds=0.05) as background:
            assert b"\x1b]11;?" in os.read(terminal, 100)
        assert time.monotonic() - start < 2
        assert background.is_light


@pytest.mark.parametrize("kind", ["dumb", "linux", ""])
def test_one_that_would_print_the_question_is_not_asked(
    monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    with on_a_terminal(monkeypatch, kind) as terminal, asked():
        os.set_blocking(terminal, False)
        with pytest.raises(BlockingIOError):
            os.read(terminal, 100)
