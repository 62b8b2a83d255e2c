"""The job that has llama.cpp's converter write a GGUF file: `python -P -m models.gguf_worker
JOB_DIRECTORY`."""

from __future__ import annotations

import shlex
import subprocess
import time
from pathlib import Path
from typing import Any

from jobs.files import tail_lines
from jobs.luthier_error import LuthierError
from jobs.worker import WorkerContext, run_worker
from models.export.launch import GgufSettings

_LOOK_SECONDS = 0.2


def main(context: WorkerContext) -> dict[str, Any] | None:
    """Run it, its words in the job's log. None if it was stopped: then there is no file."""
    started = time.monotonic()
    settings = GgufSettings(**context.settings)
    out = Path(settings.out)
    partial = out.with_name(f".{out.name}.{context.job.id}")
    command = [
        str(partial) if argument == settings.out else argument for argument in settings.command
    ]
    out.parent.mkdir(parents=True, exist_ok=True)
    context.phase("converting", seconds_left=60)
    print(shlex.join(command), flush=True)
    try:
        with subprocess.Popen(command, stdin=subprocess.DEVNULL) as process:
            while process.poll() is None:
                if context.stopping.wait(_LOOK_SECONDS):
                    process.terminate()
                    process.wait()
                    return None
        if process.returncode != 0 or not partial.is_file():
            last_words = next(
                (line for line in reversed(tail_lines(context.job.log_path, 20)) if line.strip()),
                "It wrote nothing.",
            )
            raise LuthierError(
                "The converter failed",
                last_words,
                f"`luthier log {context.job.id}` shows its output. {shlex.join(settings.command)}",
            )
        partial.rename(out)
    except FileNotFoundError as error:
        raise LuthierError(
            "The converter is missing", f"{error.filename} is gone.", "Install it again."
        ) from None
    finally:
        partial.unlink(missing_ok=True)
    return {
        "path": str(out),
        "bytes": out.stat().st_size,
        "seconds": round(time.monotonic() - started, 1),
    }


if __name__ == "__main__":
    run_worker(main)
