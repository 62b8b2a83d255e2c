"""Prepared data by the hash of everything that it was made from: the second preparation of the same
is instant."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import Any

import msgspec

from jobs.home import home, private_folder
from trainer.data.files import source_files, unreadable
from trainer.data.hub import HUB

_CHUNK = 1 << 20
_KEPT = 12  # preparations; the one used longest ago goes first
_ABANDONED = 24 * 3600.0  # seconds after which an unfinished one belongs to nobody
_CODE = [
    *Path(__file__).parent.glob("*.py"),
    *Path(__file__).parents[2].joinpath("models").glob("*.py"),
]


def cache_directory() -> Path:
    return home() / "cache" / "data"


def key(
    sources: list[str], settings: Any, template: list[str], on_read: Callable[[int], None]
) -> str | None:
    """The hash of the data, the settings, the template (what it and the tokenizer consist of) and
    the code; None for data of the hub, which can change unseen. `on_read` gets the bytes read so
    far; what it raises ends the reading."""
    if any(source.startswith(HUB) for source in sources):
        return None
    digest = hashlib.blake2b(digest_size=16)
    read = 0
    for path in _files(sources):
        digest.update(f"{path.absolute()}\0".encode("utf-8", "surrogateescape"))
        of_file = hashlib.blake2b(digest_size=16)
        try:
            with path.open("rb") as file:
                while chunk := file.read(_CHUNK):
                    of_file.update(chunk)
                    read += len(chunk)
                    on_read(read)
        except OSError as error:
            raise unreadable(path, error) from None
        digest.update(of_file.digest())
    digest.update(msgspec.json.encode(settings, order="sorted"))
    for text in template:
        digest.update(hashlib.blake2b(text.encode("utf-8", "surrogatepass")).digest())
        if "strftime_now" in text:
            digest.update(date.today().isoformat().encode())
    for path in sorted(_CODE):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def stamp(sources: list[str]) -> list[tuple[str, int, int]]:
    """By which one can tell later whether the files have changed: path, size and time of the last
    change of each."""
    status = [(path, path.stat()) for path in _files(sources) if path.exists()]
    return [(str(path), stat.st_size, stat.st_mtime_ns) for path, stat in status]


def _files(sources: list[str]) -> list[Path]:
    return [
        path
        for source in sources
        if not source.startswith(HUB)
        for path in source_files(source).data
    ]


def find(name: str | None) -> Path | None:
    """The folder of a preparation that is complete."""
    folder = None if name is None else cache_directory() / name
    if folder is None or not folder.is_dir():
        return None
    os.utime(folder)
    return folder


@contextmanager
def building(name: str | None, into: Path) -> Iterator[Path]:
    """A folder to prepare in, which becomes the preparation of that name if all goes well, and is
    removed if not. Data without a name is prepared beside `into`, and not kept."""
    parent = cache_directory() if name is not None else into.parent
    if name is not None:
        private_folder(parent)
    _clean(parent)
    folder = Path(tempfile.mkdtemp(prefix=".preparing-", dir=parent))
    try:
        yield folder
        if name is None:
            deliver(folder, into)
        else:
            try:
                folder.rename(parent / name)
            except OSError:
                # else another process has prepared the same meanwhile
                if not (parent / name).is_dir():
                    raise
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def deliver(folder: Path, into: Path) -> None:
    """The files of a preparation in a run's own folder, as links where that is possible. Nobody
    writes to them again."""
    into.mkdir(parents=True, exist_ok=True)
    for path in folder.iterdir():
        partial = into / f".{path.name}"
        partial.unlink(missing_ok=True)
        try:
            os.link(path, partial)
        except OSError:
            shutil.copyfile(path, partial)
        partial.replace(into / path.name)
        partial.unlink(missing_ok=True)  # renaming a link onto another of the same file leaves both


def _clean(parent: Path) -> None:
    for path in parent.glob(".preparing-*"):
        if time.time() - path.stat().st_mtime > _ABANDONED:
            shutil.rmtree(path, ignore_errors=True)
    if parent == cache_directory():
        complete = sorted(
            (path for path in parent.iterdir() if not path.name.startswith(".")),
            key=lambda path: path.stat().st_mtime,
        )
        for path in complete[: max(0, len(complete) - _KEPT + 1)]:
            shutil.rmtree(path, ignore_errors=True)
