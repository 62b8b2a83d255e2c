"""Files that are either whole or absent."""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

NOTHING_THERE = "no such file or folder"
_LONGEST_QUOTE = 120  # characters


def expanded(text: str | Path) -> Path:
    """With "~" as the user's home; as it stands where there is no such home ("~nobody"), so that it
    is a path that is not there."""
    try:
        return Path(text).expanduser()
    except RuntimeError:
        return Path(text)


def why_missing(path: Path) -> str:
    """Why nothing can be read at a path that somebody has named, in words; "" if something is
    there. `Path.exists` raises where the name is too long, or a folder may not be entered."""
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return NOTHING_THERE
    except OSError as error:
        return (error.strerror or str(error)).lower()
    return ""


def quoted_name(text: str) -> str:
    """A name as an error quotes it: one of thousands of characters is cut."""
    return text if len(text) <= _LONGEST_QUOTE else f"{text[:_LONGEST_QUOTE]}…"


def is_folder(path: Path) -> bool:
    """Whether a path that somebody has named is a folder; not where it cannot be looked up."""
    return not why_missing(path) and path.is_dir()


def why_no_file(path: Path) -> str:
    """Likewise of what must be a file."""
    if reason := why_missing(path):
        return reason.replace("file or folder", "file")
    return "" if path.is_file() else "not a file"


def write_atomic(path: Path, text: str, mode: int = 0o644, flush: bool = True) -> None:
    """Write under another name, flush to disk, rename. A reader sees the old file or the new one,
    never half of it.

    Without `flush` it is quicker, and a power cut may leave an empty file.
    """
    with naming(path):
        _write_atomic(path, text, mode, flush)


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """The system names no file when it refuses a write: an OSError says whose it was."""
    try:
        yield
    except OSError as error:
        error.filename = str(path)
        raise


def _write_atomic(path: Path, text: str, mode: int, flush: bool) -> None:
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
    write_atomic(path, encoded(value, indent=2).decode() + "\n", mode)


def encoded(value: Any, **options: Any) -> bytes:
    """JSON as it reads best; where a name is of bytes that are no UTF-8 (Python keeps them as lone
    surrogates), with such escaped."""
    try:
        return json.dumps(value, ensure_ascii=False, **options).encode()
    except UnicodeEncodeError:
        return json.dumps(value, ensure_ascii=True, **options).encode()


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
    """The last lines of a text file; empty if there is no such file. Progress bars that return to
    the line's start count as one line."""
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


def folder_bytes(folder: Path) -> int:
    """The bytes of all files below a folder, as far as they are still there."""
    sizes = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(FileNotFoundError):
                sizes += (Path(parent) / name).lstat().st_size
    return sizes
