"""What is to be reproduced, from a run of this home or from an export's folder: one shape for
both."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import tomlkit

from jobs.luthier_error import LuthierError
from jobs.state import Done
from models import provenance
from models.export.model_record import CHOSEN_BY_PLAN, RECORD_FILE, Record, read_record
from models.hub_names import HUB
from models.run_folder import RECIPE_FILE
from models.runs import Run
from trainer.launch import frozen_recipe
from trainer.recipe import Recipe, parse
from trainer.resume import begun, recorded

Identity = list[Any]
"""Size and hash of a data file."""


@dataclass(frozen=True)
class Original:
    """A run as it was: what it was made of, by hash, and what came of it."""

    name: str
    run: str
    recipe: Recipe
    """With this machine's paths, and with what the plan chose in the place of "auto"."""
    base: dict[str, dict[str, str]]
    """The hashes of the base model's files by part."""
    template: str
    result: dict[str, str]
    """The hashes of what it made."""
    data: dict[str, Identity]
    """By name, without folders."""
    versions: dict[str, str]
    devices: list[str] = field(default_factory=list)
    threads: int | None = None
    weights: Path | None = None
    """The folder of its adapter or model; None if that is not here."""
    samples: Path | None = None
    """The folder of its prepared data; None if that is not here."""


def of_run(run: Run) -> Original:
    """LuthierError if the run is not done, or recorded nothing."""
    state = run.job.state()
    if not isinstance(state, Done):
        raise LuthierError(
            "Not done",
            f"{run.id} has not ended with a result, so there is nothing to reproduce.",
            f"`luthier resume {run.id}` continues it.",
        )
    hashes = provenance.read(run.folder.path)
    if hashes is None or not hashes.adapter or not begun(run.folder.path):
        raise LuthierError(
            "No record to compare with",
            f"An earlier version of Luthier trained {run.id} and recorded no hashes.",
            f"`luthier train --again {run.id}` repeats it without comparing.",
        )
    fingerprint = recorded(run.folder.path)
    recipe = frozen_recipe(run.job)
    return Original(
        run.name,
        run.id,
        _pinned(recipe, run.job.spec.settings, fingerprint.get("compute_dtype")),
        hashes.base,
        hashes.template,
        hashes.adapter,
        {Path(path).name: identity for path, identity in fingerprint["data"].items()},
        fingerprint["versions"],
        fingerprint["devices"],
        fingerprint.get("threads"),
        run.folder.model if run.has_model else run.folder.adapter,
        run.folder.data,
    )


def of_folder(folder: Path, data: Sequence[Path], model: str) -> Original:
    """`data` are the files that the export only names. LuthierError if it lacks what it takes."""
    record = read_record(folder)
    if not record.recipe or not record.hashes.get("base"):
        raise LuthierError(
            "No run to reproduce",
            f"{folder / RECORD_FILE} has no recipe, or no hashes of the base model.",
            "Only an export of a trained model can be reproduced.",
        )
    if record.recipe.get("start_from"):
        raise LuthierError(
            "It started from another adapter",
            f"{record.run} started from {record.recipe['start_from']}, which is not in the export.",
            "Reproduce it where it was trained: `luthier reproduce RUN`.",
        )
    name = re.sub(r"[^A-Za-z0-9_-]+", "-", record.title).strip("-") or "model"
    recipe = _recipe_here(record, data, model, name, folder)
    fingerprint = record.fingerprint
    is_adapter = (folder / "adapter_config.json").is_file()
    return Original(
        name,
        record.run,
        _pinned(recipe, fingerprint.get("plan", {}), fingerprint.get("compute_dtype")),
        record.hashes["base"],
        record.hashes.get("template", ""),
        record.hashes.get("adapter", {}),
        fingerprint.get("data", {}),
        fingerprint.get("versions", {}),
        fingerprint.get("devices", []),
        fingerprint.get("threads"),
        folder if is_adapter or record.kind == "full" else None,
    )


def _recipe_here(
    record: Record, data: Sequence[Path], model: str, name: str, folder: Path
) -> Recipe:
    """The recipe with the paths of the files on this machine."""
    values: dict[str, Any] = {**record.recipe, "name": name, "certify": False}
    if model:
        values["model"] = model
    names = [_name_of(entry) for entry in values.get("data", [])]
    paths = {path.name: str(path.absolute()) for path in data}
    if len(names) == 1 and len(data) == 1:
        paths[names[0]] = str(data[0].absolute())
    missing = [name for name in names if not name.startswith(HUB) and name not in paths]
    if missing:
        sizes = record.fingerprint.get("data", {})
        described = [f"{name}{_size(sizes.get(name))}" for name in missing]
        raise LuthierError(
            "The data is not in the export",
            f"{record.run or folder} was trained on {', '.join(described)}. An export names its"
            " data by hash and does not carry it.",
            f"Name the file: `luthier reproduce {folder} --data {missing[0]}`",
        )
    values["data"] = [_placed(entry, paths) for entry in values["data"]]
    return parse(tomlkit.dumps(values), str(folder / RECIPE_FILE))


def _name_of(entry: Any) -> str:
    return str(entry.get("path", "")) if isinstance(entry, dict) else str(entry)


def _placed(entry: Any, paths: dict[str, str]) -> Any:
    path = paths.get(_name_of(entry), _name_of(entry))
    return {**entry, "path": path} if isinstance(entry, dict) else path


def _size(identity: Identity | None) -> str:
    return f" ({identity[0]:,} bytes)" if identity else ""


def _pinned(recipe: Recipe, plan: dict[str, Any], compute_dtype: object) -> Recipe:
    """What the plan of the original chose stands in the recipe: on another day, with other memory
    free, it might choose otherwise."""
    settled = {key: plan[key] for key in CHOSEN_BY_PLAN if key in plan}
    if isinstance(compute_dtype, str) and compute_dtype not in ("", "auto"):
        settled["compute_dtype"] = compute_dtype
    open_keys = {
        key: value
        for key, value in settled.items()
        if value is not None and getattr(recipe.train, key, None) in ("auto", 0)
    }
    train = msgspec.structs.replace(recipe.train, **open_keys)
    return msgspec.structs.replace(recipe, train=train, certify=False)
