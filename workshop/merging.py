"""Merging a run's adapter, and the runs that are served as one model rather than beside their
base."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from jobs.errors import LuthierError
from jobs.job import Job
from models.adapters import MustBeMerged, check_servable, read_adapter
from models.merge.launch import MergeSettings, trained_stops
from models.registry import MERGED_FOLDER, MODEL_FOLDER, is_model_directory
from trainer.launch import ADAPTER_FOLDER, adapter_directory


def merge_settings(run: Job, **chosen: Any) -> MergeSettings:
    """The merge of a run's adapter into its folder, but for what was chosen. LuthierError if it has
    none."""
    adapter = adapter_directory(run).absolute()
    usual = {
        "base": str(run.spec.settings["model_directory"]),
        "adapter": str(adapter),
        "out": str(run.directory / MERGED_FOLDER),
        "run": run.id,
        "stop_ids": trained_stops(run, adapter),
        "samples": str(run.directory / "data" / "heldout.jsonl"),
    }
    return MergeSettings(**{**usual, **chosen})


def whole_model(run: Job) -> str:
    """The name of the model that a run is served as: what it left where every weight was trained,
    or its merged model where vLLM does not take the adapter (whether or not that is merged yet). ""
    if the adapter is served beside the base."""
    if is_model_directory(run.directory / MODEL_FOLDER):
        return f"{run.id}/{MODEL_FOLDER}"
    try:
        check_servable(
            read_adapter(run.directory / ADAPTER_FOLDER),
            Path(str(run.spec.settings["model_directory"])),
        )
    except MustBeMerged:
        return f"{run.id}/{MERGED_FOLDER}"
    except LuthierError:  # none yet, or damaged: whoever serves it says so
        pass
    return ""


def is_there(run: Job) -> bool:
    """Whether the model that the run is served as exists."""
    return any(is_model_directory(run.directory / name) for name in (MODEL_FOLDER, MERGED_FOLDER))
