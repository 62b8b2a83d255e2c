"""A shell at a terminal, in which luthier's completion is loaded and a luthier stands that writes
down how it is called."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import select
import shlex
import shutil
import signal
import struct
import sys
import termios
import time
from contextlib import suppress
from pathlib import Path

from tests.tui.terminal import ROOT
from tui.completion.shells import Shell, script

_PATIENCE = 30.0
_READY = "shell-is-ready"
_COMMANDS = {
    "bash": ["bash", "--norc", "--noprofile", "-i"],
    "zsh": ["zsh", "-f", "-i"],
    "fish": ["fish", "--no-config", "-i"],
}
_BEFORE = {"bash": "", "zsh": "autoload -Uz compinit && compinit -u -D; ", "fish": ""}
_RECORDER = "import json, sys; open(sys.argv[1], 'a').write(json.dumps(sys.argv[2:]) + chr(10))"


class InteractiveShell:
    """`folder` is where it works; its home and its calls are beside that."""

    def __init__(self, shell: Shell, folder: Path, luthier_home: Path) -> None:
        self.shell = shell
        self.calls_path = folder.parent / "calls.jsonl"
        programs = folder.parent / "programs"
        programs.mkdir(exist_ok=True)
        self._write_luthier(programs / "luthier")
        script_path = programs / f"completion.{shell}"
        script_path.write_text(script(shell))
        user = folder.parent / "user"
        user.mkdir(exist_ok=True)
        environment = {
            "PATH": f"{programs}:{os.environ['PATH']}",
            "HOME": str(user),
            "TERM": "xterm",
            "LANG": "C.UTF-8",
            "LUTHIER_HOME": str(luthier_home),
            "PYTHONPATH": str(ROOT),
        }
        self.process, self.terminal = pty.fork()
        if self.process == 0:
            os.chdir(folder)
            program = shutil.which(shell) or shell
            os.execve(program, _COMMANDS[shell], environment)
        size = struct.pack("HHHH", 50, 160, 0, 0)
        fcntl.ioctl(self.terminal, termios.TIOCSWINSZ, size)
        self.shown = ""
        self.type(f"{_BEFORE[shell]}source {shlex.quote(str(script_path))}\r")
        self.type(f"echo {_READY[:5]}'{_READY[5:]}'\r")
        self.wait_for(_READY)

    def _write_luthier(self, path: Path) -> None:
        python, calls = shlex.quote(sys.executable), shlex.quote(str(self.calls_path))
        path.write_text(
            '#!/bin/sh\nif [ -n "$_LUTHIER_COMPLETE" ]; then\n'
            f'exec {python} -P -m tui.cli "$@"; fi\n'
            f'exec {python} -c {shlex.quote(_RECORDER)} {calls} "$@"\n'
        )
        path.chmod(0o755)

    def type(self, keys: str) -> None:
        os.write(self.terminal, os.fsencode(keys))

    def wait_for(self, text: str) -> None:
        deadline = time.monotonic() + _PATIENCE
        while text not in self.shown:
            if time.monotonic() > deadline:
                raise TimeoutError(f"{self.shell} does not show {text!r}: {self.shown!r}")
            self._read(0.2)

    def calls(self, count: int) -> list[list[str]]:
        """The first calls of luthier, waited for."""
        deadline = time.monotonic() + _PATIENCE
        lines: list[str] = []
        while len(lines) < count:
            if time.monotonic() > deadline:
                raise TimeoutError(f"{self.shell} called luthier only {lines}: {self.shown!r}")
            self._read(0.1)
            with suppress(FileNotFoundError):
                lines = self.calls_path.read_text().splitlines()
        return [json.loads(line) for line in lines]

    def _read(self, seconds: float) -> None:
        ready, _, _ = select.select([self.terminal], [], [], seconds)
        if ready:
            with suppress(OSError):  # the shell has ended
                self.shown += os.read(self.terminal, 1 << 16).decode("utf-8", "replace")

    def close(self) -> None:
        os.kill(self.process, signal.SIGKILL)
        os.close(self.terminal)
        os.waitpid(self.process, 0)
