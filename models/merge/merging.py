"""A whole merge: under another name until everything is written and on the disk, then renamed."""

from __future__ import annotations

import platform
import shutil
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

from jobs.files import flush, flush_folder
from jobs.locks import Lock
from jobs.luthier_error import LuthierError
from models.card import Card, write_card
from models.folder import ModelFolder
from models.hashing import file_hash, file_hashes
from models.merge.config_files import (
    check_vocabulary,
    copy_companions,
    write_config,
    write_index,
    write_stops,
)
from models.merge.disk_space import LOCK, check_room, partial_directory
from models.merge.plan import MergePlan
from models.merge.receipt import Receipt, Source, write
from models.merge.stream import Stream, Written


def merge(
    plan: MergePlan,
    out: Path,
    *,
    device: str = "cpu",
    run: str | None = None,
    stops: Callable[[Path], Iterable[int]] = lambda folder: (),
    progress: Callable[[int], None] = lambda done: None,
    stopping: Callable[[], bool] = lambda: False,
    replace: bool = False,
    name: str | None = None,
    workers: int | None = None,
) -> Receipt:
    """Make the merged model in the new directory `out`.

    `stops` is asked for the token ids that training ended answers with, given the folder of the
    finished model. `progress` hears of bytes written, of plan.written_bytes. `name` is what its
    card calls it (default: the directory's name). LuthierError for what a user can cause,
    stream.Stopped if `stopping` said so; then nothing is left.
    """
    started = time.monotonic()
    run = run or ModelFolder(plan.adapter.directory).card.run or None
    if out.exists() and not replace:
        raise LuthierError(
            "Something is already there",
            f"{out} exists.",
            "Choose another --out, or add --force to replace it.",
        )
    out.parent.mkdir(parents=True, exist_ok=True)
    partial = partial_directory(out)
    partial.mkdir(exist_ok=True)
    lock = Lock(partial / LOCK)
    if not lock.acquire():
        raise LuthierError(
            "Another merge is writing there",
            f"Another job is writing {out}.",
            "`luthier runs --all` shows it.",
        )
    try:
        _empty(partial)
        check_room(out, plan.written_bytes)
        copy_companions(plan.base, plan.adapter.directory, partial)
        check_vocabulary(plan, partial)
        written = Stream(plan, partial, device, progress, stopping, workers).run()
        write_config(plan, partial)
        write_index(plan, partial)
        stop_ids = write_stops(partial, stops(partial))
        _write_card(plan, partial, name or out.name, run)
        receipt = _receipt(plan, partial, written, stop_ids, device, run, started)
        write(partial, receipt)
        flush_folder(partial, LOCK)
        (partial / LOCK).unlink()
        put_in_place(partial, out)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    finally:
        lock.release()
    return receipt


def _empty(partial: Path) -> None:
    """Clear away what a merge that was killed has left."""
    for path in partial.iterdir():
        if path.name != LOCK:
            shutil.rmtree(path) if path.is_dir() else path.unlink()


def _write_card(plan: MergePlan, folder: Path, name: str, run: str | None) -> None:
    """What the registry tells of the model."""
    base = ModelFolder(plan.base).card
    card = Card(
        name=name,
        title=f"{base.title or plan.base.name} + {run or plan.adapter.directory.name}",
        source="merged",
        license=base.license,
        base=str(plan.base),
        adapter=str(plan.adapter.directory),
        run=run or "",
    )
    write_card(folder, card)


def _receipt(
    plan: MergePlan,
    folder: Path,
    written: Written,
    stop_ids: list[int],
    device: str,
    run: str | None,
    started: float,
) -> Receipt:
    beside = {
        name: file_hash
        for name, file_hash in file_hashes(folder).items()
        if name not in written.files and name != LOCK
    }
    base_beside = file_hashes(plan.base, "*.json", "*.jinja", "tokenizer.model")
    adapter = {
        name: file_hash(plan.adapter.directory / name)
        for name in ("adapter_config.json", "adapter_model.safetensors")
    }
    changes = [
        record.largest_change for record in written.tensors if record.largest_change is not None
    ]
    copied = sum(record.made == "copied" for record in written.tensors)
    tied = plan.tied if plan.tied is not None else plan.config.get("tie_word_embeddings")
    versions = {"python": platform.python_version(), "torch": str(torch.__version__)}
    with suppress(PackageNotFoundError):
        versions["luthier"] = version("luthier")
    return Receipt(
        base=Source(str(plan.base), dict(sorted({**base_beside, **written.base_files}.items()))),
        adapter=Source(str(plan.adapter.directory), adapter),
        into=plan.into,
        dtype=plan.dtype or "",
        tied=tied,
        stop_token_ids=stop_ids,
        files=dict(sorted({**beside, **written.files}.items())),
        tensors=written.tensors,
        largest_change=max(changes, default=0.0),
        changed=len(written.tensors) - copied,
        copied=copied,
        device=device,
        versions=versions,
        seconds=round(time.monotonic() - started, 2),
        created=round(time.time(), 3),
        run=run,
    )


def put_in_place(partial: Path, out: Path) -> None:
    """Give a directory that is whole, and on the disk, its name. What has that name gives way."""
    old = out.with_name(f".{out.name}.replaced")
    shutil.rmtree(old, ignore_errors=True)
    if out.exists():
        out.rename(old)
    partial.rename(out)
    flush(out.parent)
    shutil.rmtree(old, ignore_errors=True)
