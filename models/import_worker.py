"""The job that imports: `python -P -m models.import_worker JOB_DIRECTORY`."""

from __future__ import annotations

import shutil
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from jobs import foreign_json
from jobs.files import flush_folder, write_json
from jobs.foreign_json import Damaged
from jobs.locks import Lock
from jobs.luthier_error import LuthierError
from jobs.worker import WorkerContext, run_worker
from models import events
from models.adapters import read_adapter
from models.card import Card, write_card
from models.imports.launch import IDENTITY, LOCK, ImportSettings, check_free, partial_directory
from models.imports.progress import ByteProgress, Stopped
from models.imports.source import Folder, Gguf, Hub, parse_source
from models.registry import resolve
from models.weights import tensor_entries, weight_files


def main(context: WorkerContext) -> dict[str, Any] | None:
    """Bring the model here under another name, look whether it is whole, rename. None if it was
    stopped first."""
    started = time.monotonic()
    settings = ImportSettings(**context.settings)
    out = check_free(settings.name)
    partial = partial_directory(out)
    partial.mkdir(parents=True, exist_ok=True)
    lock = Lock(partial / LOCK)
    if not lock.acquire():
        raise LuthierError(
            "Already being imported",
            f"Another job is importing {settings.name}.",
            "`luthier runs --all` shows it.",
        )
    source = parse_source(settings.source)
    try:
        card = _bring(context, source, partial, settings)
        _check_whole(partial)
        card = replace(card, name=settings.name, imported=round(time.time(), 3))
        write_card(partial, card)
        flush_folder(partial, LOCK)
        (partial / IDENTITY).unlink(missing_ok=True)
        check_free(settings.name)
        partial.rename(out)
        (out / LOCK).unlink()
    except BaseException as error:
        # What came from the hub is kept, to be gone on with; the rest is quickly made again.
        if not (isinstance(source, Hub) and _has_weights(partial)):
            shutil.rmtree(partial, ignore_errors=True)
        if isinstance(error, Stopped):
            return None
        raise
    finally:
        lock.release()
    for warning in card.warnings:
        events.tell(context, events.ModelWarning(message=warning))
    size = sum(path.stat().st_size for path in out.rglob("*") if path.is_file())
    return {
        "path": str(out),
        "name": settings.name,
        "bytes": size,
        "warnings": card.warnings,
        "seconds": round(time.monotonic() - started, 1),
    }


def _bring(
    context: WorkerContext, source: Folder | Gguf | Hub, partial: Path, settings: ImportSettings
) -> Card:
    progress = ByteProgress(context)
    if isinstance(source, Folder):
        _begin(partial, settings.source, "")
        from models.imports.copying import copy_folder

        return copy_folder(source.path, partial, progress)
    context.phase("loading the libraries", seconds_left=20 if isinstance(source, Gguf) else 2)
    if isinstance(source, Gguf):
        _begin(partial, settings.source, "")
        from models.imports.gguf import convert

        return convert(source.path, partial, progress)
    from models.imports.hub import download, look_up

    context.phase("asking the hub", seconds_left=2)
    repository = look_up(source, progress.wait)
    _begin(partial, settings.source, repository.commit)
    card = download(repository, partial, settings.trust, progress)
    if any(partial.glob("pytorch_model*.bin")):
        context.phase("converting the pickled weights", seconds_left=60)
        from models.imports.pickled import to_safetensors

        to_safetensors(partial)
        card = replace(
            card,
            warnings=[
                *card.warnings,
                f"Converted from pickled weights, because {source.repository} is trusted.",
            ],
        )
    return card


def _has_weights(partial: Path) -> bool:
    """Whether bytes have come that are worth keeping."""
    return any(
        path.stat().st_size
        for pattern in (".*.part", "*.safetensors")
        for path in partial.glob(pattern)
    )


def _begin(partial: Path, source: str, commit: str) -> None:
    """Go on with what an earlier attempt at the same has left; anything else is cleared away."""
    identity = {"source": source, "commit": commit}
    if _earlier_identity(partial) != identity or not commit:
        for path in partial.iterdir():
            if path.name != LOCK:
                shutil.rmtree(path) if path.is_dir() else path.unlink()
    write_json(partial / IDENTITY, identity)


def _earlier_identity(partial: Path) -> dict[str, Any] | None:
    try:
        return foreign_json.read_object(partial / IDENTITY)
    except (FileNotFoundError, Damaged):
        return None


def _check_whole(folder: Path) -> None:
    """LuthierError if what was brought is no model: a file is cut off, or something is missing."""
    if (folder / "config.json").is_file():
        resolve(str(folder))
        for path in weight_files(folder):
            tensor_entries(path)
    else:
        read_adapter(folder)
        tensor_entries(folder / "adapter_model.safetensors")


if __name__ == "__main__":
    run_worker(main)
