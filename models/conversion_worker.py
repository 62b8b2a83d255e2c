"""The job that writes a model in another form, GGUF or compressed-tensors: `python -P -m
models.conversion_worker JOB_DIRECTORY`."""

from __future__ import annotations

import shutil
import time
from pathlib import Path
from typing import Any

from jobs.files import folder_bytes
from jobs.worker import WorkerContext, run_worker
from models.export.commands import run_all
from models.export.files import run_of
from models.export.form_papers import papers_of, papers_path, write_papers
from models.export.formats import form_named
from models.export.launch import ConversionSettings
from models.export.model_record import record_of


def main(context: WorkerContext) -> dict[str, Any] | None:
    """Write under another name, rename. None if it was stopped: then nothing is left of it."""
    started = time.monotonic()
    settings = ConversionSettings(**context.settings)
    out = Path(settings.out)
    partial = out.with_name(f".{out.name}.{context.job.id}")
    out.parent.mkdir(parents=True, exist_ok=True)
    context.phase("converting", seconds_left=60)
    try:
        if not run_all(
            settings.commands(partial), partial, context.job.log_path, context.stopping.wait
        ):
            return None
        entry = settings.entry
        record = record_of(entry, run_of(entry))
        papers = papers_of(record, form_named(settings.form), partial, out.name)
        write_papers(papers_path(partial), papers)
        if partial.is_file():
            papers_path(partial).rename(papers_path(out))
        partial.rename(out)
    finally:
        for path in out.parent.glob(f"{partial.name}*"):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    return {
        "path": str(out),
        "papers": str(papers_path(out)),
        "bytes": folder_bytes(out) if out.is_dir() else out.stat().st_size,
        "seconds": round(time.monotonic() - started, 1),
    }


if __name__ == "__main__":
    run_worker(main)
