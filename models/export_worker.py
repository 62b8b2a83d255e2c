"""The job that writes a model into a folder: `python -P -m models.export_worker JOB_DIRECTORY`."""

from __future__ import annotations

import shutil
import time
from pathlib import Path
from typing import Any

from jobs.worker import WorkerContext, run_worker
from models.export.files import Parcel, pack
from models.export.launch import ExportSettings, check_out
from models.export.manifest import sealed
from models.imports.copying import check_space, copy_file
from models.imports.progress import ByteProgress, Stopped


def main(context: WorkerContext) -> dict[str, Any] | None:
    """Write under another name, rename. None if it was stopped: then nothing is left of it."""
    started = time.monotonic()
    settings = ExportSettings(**context.settings)
    context.phase("reading the model", seconds_left=2)
    parcel, out = sealed(pack(settings.name, settings.what)), Path(settings.out)
    check_out(out, replace=settings.replace)
    out.parent.mkdir(parents=True, exist_ok=True)
    partial = out.with_name(f".{out.name}.{context.job.id}")
    try:
        partial.mkdir()
        check_space(partial, parcel.size)
        _write(parcel, partial, ByteProgress(context))
        if out.is_dir():
            _replace(partial, out)
        else:
            partial.rename(out)
    except Stopped:
        return None
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return {
        "path": str(out),
        "files": len(parcel.files),
        "bytes": parcel.size,
        "seconds": round(time.monotonic() - started, 1),
    }


def _write(parcel: Parcel, folder: Path, progress: ByteProgress) -> None:
    progress.begin("copying", parcel.size)
    for name, part in parcel.files.items():
        if isinstance(part, Path):
            copy_file(part, folder / name, progress)
        else:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(part)
            progress.add(len(part))


def _replace(partial: Path, out: Path) -> None:
    """File by file: whatever else lies in the folder (a repository's .git, say) stays."""
    for path in sorted(partial.rglob("*")):
        if path.is_file():
            target = out / path.relative_to(partial)
            target.parent.mkdir(parents=True, exist_ok=True)
            path.replace(target)


if __name__ == "__main__":
    run_worker(main)
