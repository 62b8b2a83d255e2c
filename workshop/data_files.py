"""The data files near a folder, and what a quick look says of each."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from jobs.home import home, jobs_directory, models_directory
from jobs.luthier_error import LuthierError
from trainer.data.preview import look
from trainer.data.settings import DataSettings, Source
from trainer.data_endings import DATA_ENDINGS

MOST_FILES = 200
_DEPTH = 3
_MOST_ENTRIES = 5000  # looked at, so that a home folder full of files takes no longer
_COMPRESSED = (".gz", ".zst")
_SKIPPED = frozenset({"node_modules", "__pycache__", "venv", "site-packages"})
_OF_A_MODEL = frozenset({"tokenizer.json", "model.safetensors", "adapter_config.json"})
"""What only a model's folder has, whose JSON is no data."""
_OF_A_JOB = frozenset({"spec.json", "events.jsonl"})
"""What a job's folder has, whichever home it is in."""


@dataclass(frozen=True)
class FileLook:
    """What the first rows of a file say of it."""

    rows: int = 0
    exact: bool = True
    """Whether all rows were counted; else `rows` is an estimate."""
    format_name: str = ""
    problem: str = ""
    """Why nothing can be trained on it as it is, in words; empty if it can."""


def data_files(folder: Path) -> list[Path]:
    """The files in and below a folder that may hold conversations, the nearest first. Not those of
    Luthier's jobs and models, if its home or another one is there, nor a model's own JSON."""
    files: list[Path] = []
    for path in _files_below(folder):
        name = path.name.lower()
        for ending in _COMPRESSED:
            name = name.removesuffix(ending)
        if name.endswith((*DATA_ENDINGS, ".json")):
            files.append(path)
            if len(files) == MOST_FILES:
                break
    return files


def _files_below(folder: Path) -> Iterator[Path]:
    """Level by level, each in the order of the names."""
    folders, entries_read = deque([(folder, 0)]), 0
    own_folders = (jobs_directory(), models_directory(), home() / "cache")
    while folders:
        current, depth = folders.popleft()
        try:
            with os.scandir(current) as scanned:
                entries = sorted(scanned, key=lambda entry: entry.name)
        except OSError:
            continue
        names = {entry.name for entry in entries}
        if names >= _OF_A_JOB:
            continue
        is_model = not names.isdisjoint(_OF_A_MODEL)
        for entry in entries:
            entries_read += 1
            if entries_read > _MOST_ENTRIES:
                return
            if entry.name.startswith(".") or entry.name in _SKIPPED:
                continue
            if entry.is_dir(follow_symlinks=False):
                if depth < _DEPTH and Path(entry.path) not in own_folders:
                    folders.append((Path(entry.path), depth + 1))
            elif entry.is_file() and not (is_model and entry.name.endswith(".json")):
                yield Path(entry.path)


def look_at(path: Path) -> FileLook:
    """Read its first rows. Light; two seconds at most."""
    try:
        outlook = look(DataSettings(sources=[Source(str(path))]))
    except LuthierError as error:
        return FileLook(problem=error.title)
    format_name = str(outlook.formats[0]["format"]) if outlook.formats else ""
    return FileLook(outlook.rows, outlook.exact, format_name)
