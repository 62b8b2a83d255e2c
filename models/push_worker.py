"""The job that pushes a model to the hub: `python -P -m models.push_worker JOB_DIRECTORY`."""

from __future__ import annotations

import threading
import time
from typing import Any

from jobs.worker import WorkerContext, run_worker
from models.export.files import pack
from models.export.launch import PushSettings
from models.export.manifest import sealed
from models.imports.progress import ByteProgress, Stopped

_LOOK_SECONDS = 0.2


def main(context: WorkerContext) -> dict[str, Any] | None:
    """Pack, upload, commit. None if it was stopped: what the hub has by then is used by the next
    attempt, nobody sees it before."""
    started = time.monotonic()
    settings = PushSettings(**context.settings)
    context.phase("loading the libraries", seconds_left=3)
    from models.export.push import Pushed, push

    parcel = sealed(pack(settings.name, settings.what, settings.repository))
    progress = ByteProgress(context)
    ended: list[Pushed | BaseException] = []

    def work() -> None:
        try:
            ended.append(
                push(
                    parcel,
                    settings.repository,
                    progress,
                    private=settings.private,
                    branch=settings.branch,
                    message=settings.message,
                )
            )
        except BaseException as error:  # noqa: BLE001 - it is raised again in the main thread
            ended.append(error)

    # In a thread of its own: the client has no way to break off an upload, the end of the process
    # has.
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    while thread.is_alive():
        thread.join(_LOOK_SECONDS)
        if context.stopping.is_set():
            return None
    outcome = ended[0]
    if isinstance(outcome, Stopped):
        return None
    if isinstance(outcome, BaseException):
        raise outcome
    return {
        **vars(outcome),
        "files": len(parcel.files),
        "bytes": parcel.size,
        "seconds": round(time.monotonic() - started, 1),
    }


if __name__ == "__main__":
    run_worker(main)
