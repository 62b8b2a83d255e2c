"""What is given away of a model: its files by name, each a path here or its bytes. None of them
tells of this machine's folders."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from jobs.job import Job, find
from jobs.luthier_error import LuthierError
from models.adapters import read_adapter
from models.catalogue import Entry, find_entry, repository_of_base
from models.certificate import CERTIFICATE_FILE
from models.export.card import model_card
from models.export.model_record import RECORD_FILE, Record, public_chapter, record_of, without_paths
from models.folder import ModelFolder
from models.imports import files
from models.run_folder import CHAPTERS_FOLDER, RECIPE_FILE
from models.weights import weight_files

CARD = "README.md"
What = Literal["adapter", "merged"]


@dataclass(frozen=True)
class Parcel:
    entry: Entry
    record: Record
    files: dict[str, Path | bytes]

    @property
    def size(self) -> int:
        """In bytes."""
        return sum(
            len(part) if isinstance(part, bytes) else part.stat().st_size
            for part in self.files.values()
        )


def pack(name: str, part: What | None = None, repository: str = "") -> Parcel:
    """The parcel of a model or a run; `what` chooses between a run's adapter (the default) and its
    merged model.

    `repository` is the hub's name that it will have. LuthierError for what is not there.
    """
    entry = find_entry(name, part or "")
    if not entry.ready:
        raise LuthierError(
            "Not ready", f"{entry.name} is not prepared.", f"`luthier models import {entry.name}`"
        )
    run = run_of(entry)
    record = record_of(entry, run)
    contents: dict[str, Path | bytes] = dict(
        _adapter_files(entry, record) if entry.kind == "tuned" else _model_files(entry.path)
    )
    written = record.to_json()
    contents[RECORD_FILE] = _json(written)
    if record.certificate is not None:
        contents[CERTIFICATE_FILE] = _json(written["certificate"])
    contents |= _chapters(record)
    if record.recipe:
        import tomlkit

        contents[RECIPE_FILE] = tomlkit.dumps(record.recipe).encode()
    if entry.kind != "base" or CARD not in contents:
        contents[CARD] = model_card(record, repository).encode()
    return Parcel(entry, record, dict(sorted(contents.items())))


def _chapters(record: Record) -> dict[str, Path | bytes]:
    """The certificate's further chapters that the card speaks of."""
    return {
        f"{CHAPTERS_FOLDER}/{chapter.kind}.json": _json(public_chapter(chapter))
        for chapter in record.chapters or []
    }


def run_of(entry: Entry) -> Job | None:
    try:
        return find(entry.run, "run") if entry.run else None
    except LuthierError:  # removed since
        return None


def _adapter_files(entry: Entry, record: Record) -> dict[str, Path | bytes]:
    """The adapter with the tokenizer and the template that it was trained with, its config naming
    the base as others know it."""
    config = read_adapter(entry.path).config
    config["base_model_name_or_path"] = repository_of_base(entry) or entry.base
    contents: dict[str, Path | bytes] = {}
    for folder in (entry.base_path, entry.path):
        if folder is not None:
            names = [path.name for path in folder.iterdir() if path.is_file()]
            beside = [name for name in files.companions(names) if _goes_with_an_adapter(name)]
            contents |= {name: folder / name for name in beside}
    return {
        **contents,
        files.ADAPTER[0]: _json(without_paths(config)),
        files.ADAPTER[1]: entry.path / files.ADAPTER[1],
    }


def _goes_with_an_adapter(name: str) -> bool:
    return name not in (
        "config.json",
        "generation_config.json",
        CARD,
        files.ADAPTER[0],
    ) and not name.startswith(("preprocessor", "processor"))


def _model_files(folder: Path) -> dict[str, Path | bytes]:
    here = {
        path.relative_to(folder).as_posix()
        for path in [*folder.iterdir(), *folder.glob("additional_chat_templates/*")]
        if path.is_file()
    }
    weights = [path.name for path in weight_files(folder)]
    names = [*files.companions(here), *([files.INDEX] if len(weights) > 1 else []), *weights]
    contents: dict[str, Path | bytes] = {name: folder / name for name in names}
    config = ModelFolder(folder).config
    if "_name_or_path" in config:  # where transformers once loaded it from
        del config["_name_or_path"]
        contents["config.json"] = _json(config)
    return contents


def _json(value: Any) -> bytes:
    return (json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode()
