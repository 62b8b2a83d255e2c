"""A model from a folder of this machine, copied."""

from __future__ import annotations

import shutil
from pathlib import Path

from jobs.luthier_error import LuthierError
from models.card import Card
from models.description import licence
from models.folder import ModelFolder
from models.imports import files
from models.imports.progress import ByteProgress
from models.weights import weight_files

_BLOCK = 8 << 20
_SPARE = 64 << 20


def copy_folder(source: Path, folder: Path, progress: ByteProgress) -> Card:
    """Copy what makes a model: no pickles, no code, nothing else that happens to lie there. Stopped
    when asked to stop."""
    names = names_to_copy(source)
    total = sum((source / name).stat().st_size for name in names)
    check_space(folder, total)
    progress.begin("copying", total)
    for name in names:
        copy_file(source / name, folder / name, progress)
    model = ModelFolder(source)
    card = model.shown_card
    origin = card.source if card.source.startswith("hub:") else str(source)
    warnings = (
        ["Its config refers to code of its own (auto_map), which Luthier did not import."]
        if not model.is_adapter and model.config.get("auto_map")
        else []
    )
    return Card(
        title=card.title or source.name,
        source=origin,
        license=licence(source),
        commit=card.commit,
        base_bits=card.base_bits,
        stop_ids=card.stop_ids,
        warnings=warnings,
    )


def names_to_copy(source: Path) -> list[str]:
    """The files of a model's folder, relative to it: an adapter's or a whole model's. LuthierError
    if it is neither."""
    here = {
        path.relative_to(source).as_posix()
        for path in [*source.iterdir(), *source.glob("additional_chat_templates/*")]
        if path.is_file()
    }
    beside = files.companions(here)
    if files.is_adapter(here):
        return [*beside, files.ADAPTER[1]]
    weight_names = [path.name for path in weight_files(source)]
    return [*beside, *([files.INDEX] if len(weight_names) > 1 else []), *weight_names]


def copy_file(source: Path, target: Path, progress: ByteProgress) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    with source.open("rb") as reading, target.open("wb") as writing:
        while block := reading.read(_BLOCK):
            writing.write(block)
            progress.add(len(block))


def check_space(folder: Path, size: int) -> None:
    """LuthierError if `size` bytes and some do not fit on the disk of `folder`."""
    free = shutil.disk_usage(folder).free
    if free < size + _SPARE:
        message = (
            f"It takes {(size + _SPARE) / 1e9:.1f} GB, but {folder.parent} has only"
            f" {free / 1e9:.1f} GB free."
        )
        raise LuthierError(
            "Not enough disk space",
            message,
            "Free some space, or choose a folder on a larger disk.",
        )
