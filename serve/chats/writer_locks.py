"""Who is writing: each process that receives answers holds a lock, which the kernel drops when the
process is gone, however it ends."""

from __future__ import annotations

import os
import secrets
import threading
import time
from pathlib import Path

from jobs.home import home
from jobs.locks import Lock, holder

_YOUNG_SECONDS = 60.0

_own: dict[Path, tuple[int, str, Lock]] = {}
_guard = threading.Lock()


def own_writer() -> str:
    """The name of this process among the writers of this home. It is taken once and held until the
    process ends."""
    folder = _folder()
    with _guard:
        writer = _own.get(folder)
        if writer is not None and writer[0] == os.getpid():
            return writer[1]
        folder.mkdir(parents=True, exist_ok=True)
        name = f"{os.getpid()}-{secrets.token_hex(4)}"
        lock = Lock(folder / name)
        lock.acquire()
        _own[folder] = (os.getpid(), name, lock)
        return name


def is_living(name: str) -> bool:
    """Whether the process of this name still runs."""
    writer = _own.get(_folder())
    # to ask the kernel would drop the lock
    if writer is not None and writer[:2] == (os.getpid(), name):
        return True
    return "/" not in name and holder(_folder() / name) is not None


def sweep() -> None:
    """Remove the files of processes that are gone; young ones may belong to a process that is about
    to lock its own."""
    if not _folder().is_dir():
        return
    for file in _folder().iterdir():
        try:
            if time.time() - file.stat().st_mtime > _YOUNG_SECONDS and not is_living(file.name):
                file.unlink()
        except OSError:  # another process was quicker, or it is not ours to remove
            continue


def _folder() -> Path:
    return home() / "chats.writers"
