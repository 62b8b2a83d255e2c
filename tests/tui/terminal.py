"""A program on a terminal of its own: what it sends there, and what in that is not its own."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from tests.tui.hostile import MARKS

ROOT = Path(__file__).resolve().parents[2]
# What Rich, Textual and Luthier's notices send: styles, the cursor, modes, queries, a title, a
# notice, a clipboard, a hyperlink's end.
_OWN = re.compile(
    r"\x1b\[[0-9;?=<>$ ]*[A-Za-z]"
    r"|\x1b\](?:2;|9;|22;|52;c;)[^\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]*\x07"
    r"|\x1bP[^\x00-\x1f\x7f-\x9f]*\x1b\\"
    r"|\x1b[78=>]|\x07$"
)
_FOREIGN = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\udc80-\udcff]"
)


def sent(
    module: str, *arguments: str, home: Path, typed: bytes = b"", size: tuple[int, int] = (110, 30)
) -> str:
    """What `python -m MODULE ARGUMENTS` sends to its terminal, decoded. `typed` waits there for
    whoever asks."""
    leader, follower = pty.openpty()
    fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", size[1], size[0], 0, 0))
    environment: Mapping[str, str] = {
        **{
            name: value
            for name, value in os.environ.items()
            if name not in ("NO_COLOR", "COLUMNS", "LINES", "CI")
        },
        **{
            "TERM": "xterm-256color",
            "COLORTERM": "truecolor",
            "LUTHIER_HOME": str(home),
            "TEXTUAL_ANIMATIONS": "none",
        },
        **{"PYTHONPATH": str(ROOT), "PYTHONUTF8": "1"},
    }
    process = subprocess.Popen(
        [sys.executable, "-m", module, *arguments],
        stdin=follower,
        stdout=follower,
        stderr=follower,
        cwd=home,
        env=environment,
    )
    os.close(follower)
    os.write(leader, typed)
    received = b""
    with suppress(OSError):  # the end of a pseudo-terminal is an error
        while block := os.read(leader, 1 << 16):
            received += block
    os.close(leader)
    process.wait()
    return received.decode("utf-8", "surrogateescape")


def foreign(text: str) -> Sequence[str]:
    """What in it a terminal would obey although Luthier did not send it, each with what stands
    around it."""
    own = _OWN.sub("", text)
    stray = [
        ascii(own[max(0, found.start() - 40) : found.end() + 40])
        for found in _FOREIGN.finditer(own)
    ]
    return stray + [
        ascii(text[max(0, text.index(mark) - 40) : text.index(mark) + 40])
        for mark in MARKS
        if mark in text
    ]
