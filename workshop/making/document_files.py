"""Which files of a folder are documents. Light."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from jobs.files import expanded
from jobs.luthier_error import LuthierError

# fmt: off
ENDINGS = (
    ".txt", ".text", ".md", ".markdown", ".html", ".htm", ".xhtml", ".epub", ".pdf", ".docx",
    ".srt", ".vtt",
)
# fmt: on


def documents_at(names: Iterable[str]) -> list[Path]:
    """The files of these names, and the documents of these folders, each once. LuthierError if
    there are none."""
    paths: list[Path] = []
    for name in names:
        path = expanded(name).absolute()
        if not path.exists():
            raise LuthierError("No such document", f"{path} does not exist.", "Check the path.")
        paths += files_in(path) if path.is_dir() else [path]
    return list(dict.fromkeys(paths))


def names_of(paths: Sequence[Path]) -> list[str]:
    """What each document is called in the data: its file's name, or its path below the folder that
    holds all of them if two files have the same name."""
    names = [path.name for path in paths]
    if len(set(names)) == len(names):
        return names
    common = Path(os.path.commonpath([path.parent for path in paths]))
    return [path.relative_to(common).as_posix() for path in paths]


def files_in(folder: Path) -> list[Path]:
    """By their names, hidden ones left aside. LuthierError if there are none."""
    files = [
        path
        for path in sorted(folder.rglob("*"))
        if path.suffix.lower() in ENDINGS
        and path.is_file()
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    ]
    if not files:
        raise LuthierError(
            "No document", f"{folder} has no document.", f"Luthier reads {', '.join(ENDINGS)}."
        )
    return files
