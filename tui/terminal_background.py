"""Whether the terminal is light: what it says itself (OSC 11), else what its environment says."""

from __future__ import annotations

import os
import re
import select
import sys
import termios
import time
import tty
from collections.abc import Iterator
from contextlib import contextmanager

# The second question, for the terminal's kind, is answered by every terminal, and after the first:
# no answer to the first has to be waited for.
_QUESTION = b"\x1b]11;?\x1b\\\x1b[c"
_END = re.compile(rb"\x1b\[\?[\d;]*c")
_COLOUR = re.compile(rb"\x1b\]11;rgba?:([\da-fA-F]+)/([\da-fA-F]+)/([\da-fA-F]+)")
_MUTE = {"", "dumb", "linux"}
"""Kinds of terminals that would print the question."""


class Background:
    """What is known of it; `is_light` is False where nothing is."""

    def __init__(self) -> None:
        self.is_light = _light_by_environment()


@contextmanager
def asked(wait_seconds: float = 0.1) -> Iterator[Background]:
    """Ask the terminal, do what is inside (loading the app takes longer than the answer), and then
    have the answer. It waits for `wait_seconds` at most, and not at all without a terminal."""
    background = Background()
    if os.environ.get("TERM", "") in _MUTE or not (sys.stdin.isatty() and sys.stderr.isatty()):
        yield background
        return
    source, target = sys.stdin.fileno(), sys.stderr.fileno()
    before = termios.tcgetattr(source)
    try:
        tty.setcbreak(
            source, termios.TCSANOW
        )  # else the answer would be shown, and kept till enter
        os.write(target, _QUESTION)
        yield background
        answer = _answer(source, wait_seconds)
    finally:
        termios.tcsetattr(source, termios.TCSANOW, before)
    light = _light_by_answer(answer)
    if light is not None:
        background.is_light = light


def _answer(source: int, wait_seconds: float) -> bytes:
    """What has come, up to the answer that every terminal gives."""
    answer, end = b"", time.monotonic() + wait_seconds
    while not _END.search(answer):
        if not select.select([source], [], [], max(0.0, end - time.monotonic()))[0]:
            break
        piece = os.read(source, 1024)
        if not piece:
            break
        answer += piece
    return answer


def _light_by_answer(answer: bytes) -> bool | None:
    match = _COLOUR.search(answer)
    if match is None:
        return None
    red, green, blue = (int(part, 16) / (16 ** len(part) - 1) for part in match.groups())
    return bool(0.2126 * red + 0.7152 * green + 0.0722 * blue > 0.5)


def _light_by_environment() -> bool:
    """`COLORFGBG`, such as "0;15" or "0;default;15": the last is the background, and 7 and those
    from 9 on are light."""
    number = os.environ.get("COLORFGBG", "").rpartition(";")[2]
    return number == "7" or (number.isdecimal() and 9 <= int(number) <= 15)
