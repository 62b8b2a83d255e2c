"""Run the commands of an export, in a job: their words go into its log, a stop ends them."""

from __future__ import annotations

import os
import shlex
import subprocess
from collections.abc import Callable
from pathlib import Path

from jobs import processes
from jobs.files import tail_lines
from jobs.luthier_error import LuthierError
from models.export import compressed, gguf
from models.export.formats import Form

_LOOK_SECONDS = 0.2


def commands_for(folder: Path, out: Path, form: Form, samples: Path | None) -> list[list[str]]:
    """What writes a whole model in a form, in order. LuthierError with the remedy if something for
    it is missing."""
    if form.family == "gguf":
        return gguf.commands(folder, out, form.kind)
    return compressed.commands(folder, out, form.kind, samples)


def run_all(
    commands: list[list[str]], out: Path, log: Path, stopping: Callable[[float], bool]
) -> bool:
    """Whether all of them ran; False if `stopping`, which waits so many seconds, said so first.
    LuthierError with the last words of one that fails."""
    for command in commands:
        print(shlex.join(command), flush=True)
        try:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                env={**os.environ, "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"},
                preexec_fn=processes.end_with_parent,
            )
        except OSError as error:
            raise LuthierError(
                "The converter is missing", f"{error.filename} is gone.", "Install it again."
            ) from None
        while process.poll() is None:
            if stopping(_LOOK_SECONDS):
                process.terminate()
                process.wait()
                return False
        if process.returncode != 0:
            raise _failed(command, log)
    if not out.exists():
        raise _failed(commands[-1], log)
    return True


def _failed(command: list[str], log: Path) -> LuthierError:
    last_words = next(
        (line for line in reversed(tail_lines(log, 20)) if line.strip()), "It wrote nothing."
    )
    return LuthierError(
        "The converter failed",
        last_words,
        f"`luthier log {log.parent.name}` shows its output. {shlex.join(command)}",
    )
