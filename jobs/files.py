"""Files that are either whole or absent."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path
from typing import Any


def expanded(text: str | Path) -> Path:
    """With "~" as the user's home; as it stands where there is no such home ("~nobody"), so that it is a path that is not there."""
    try:
        return Path(text).expanduser()
    except RuntimeError:
        return Path(text)


def write_atomic(path: Path, text: str, mode: int = 0o644, flush: bool = True) -> None:
    """Write under another name, flush to disk, rename. A reader sees the old file or the new one, never half of it.

    Without `flush` it is quicker, and a power cut may leave an empty file.
    """
    descriptor, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            if flush:
                os.fsync(file.fileno())
        Path(temporary).chmod(mode)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def write_json(path: Path, value: Any, mode: int = 0o644) -> None:
    write_atomic(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n", mode)


def flush(path: Path) -> None:
    """Have the kernel write a file or a folder's entries to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def flush_folder(folder: Path, lock: str) -> None:
    """Have everything below a folder on the disk before the folder gets its name."""
    for path in (*folder.rglob("*"), folder):
        if path.name != lock:  # opening and closing it would drop the lock
            flush(path)


def tail_lines(path: Path, count: int, max_bytes: int = 65_536) -> list[str]:
    """The last lines of a text file; empty if there is no such file. Progress bars that return to the line's start count as one line."""
    try:
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - max_bytes))
            text = file.read().decode("utf-8", errors="replace")
    except FileNotFoundError:
        return []
    lines = [line.rsplit("\r", 1)[-1].rstrip() for line in text.replace("\r\n", "\n").split("\n")]
    if size > max_bytes:
        lines = lines[1:]
    while lines and not lines[-1]:
        lines.pop()
    return lines[-count:]
