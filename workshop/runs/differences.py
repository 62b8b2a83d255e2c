"""What differs between runs: their recipes, what the plan made of them, their data, base models,
chat templates and versions, by hash where there is one. Names and hashes are those of the run's own
records; nothing is read anew."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jobs import foreign_json
from jobs.job import Job
from models import events
from models.run_folder import RunFolder
from workshop import number_format
from workshop.runs.record import RunRecord
from workshop.runs.track import Track

# What the plan and the data's totals add to the recipe. Anything else of them follows from these.
_PLAN = (
    "model",
    "model_directory",
    "device",
    "engine",
    "global_batch",
    "micro_batch",
    "accumulation",
    "epochs",
    "steps",
)
_DATA = ("conversations", "train", "heldout", "tokens", "trained_tokens", "longest")
_NEVER_SAID = ("recipe.name",)
_HASH = 12  # characters of one that tell two apart


@dataclass(frozen=True)
class Difference:
    """One setting and its value in each run; "" where a run has none."""

    group: str
    name: str
    values: tuple[str, ...]


@dataclass(frozen=True)
class Comparison:
    differing: tuple[Difference, ...]
    equal: int
    "How many settings are the same in all runs."


def compare(tracks: Sequence[Track]) -> Comparison:
    settings_by_track = [settings_of(track.job, track.record) for track in tracks]
    names = list(dict.fromkeys(name for settings in settings_by_track for name in settings))
    differing, equal = [], 0
    for name in names:
        values = tuple(settings.get(name, "") for settings in settings_by_track)
        if name in _NEVER_SAID:
            continue
        if len(set(values)) == 1:
            equal += 1
        else:
            group, _, name_in_group = name.partition(".")
            differing.append(Difference(group, name_in_group, values))
    return Comparison(tuple(differing), equal)


def settings_of(job: Job, record: RunRecord) -> dict[str, str]:
    """Everything that could make two runs differ, by name: "recipe.train.learning_rate"."""
    texts: dict[str, str] = {}
    strategy = record.template.strategy if record.template is not None else None
    for group, values in (
        ("recipe", _recipe(job.directory)),
        ("plan", _known(record.plan, _PLAN)),
        ("data", _known(record.data, _DATA)),
        *_fingerprint(job.directory),
        ("template", {"masking": strategy} if strategy is not None else {}),
    ):
        texts |= {f"{group}.{name}": text for name, text in _flat(values)}
    return texts


def _known(event: events.Plan | events.Data | None, names: Sequence[str]) -> dict[str, Any]:
    """The fields of these names that the event has."""
    values = {name: getattr(event, name, None) for name in names}
    return {name: value for name, value in values.items() if value is not None}


def _recipe(directory: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(RunFolder(directory).recipe.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}


def _fingerprint(directory: Path) -> list[tuple[str, dict[str, Any]]]:
    """What the worker wrote down before it trained, so that a resume can be held against it
    (trainer.resume)."""
    try:
        read = foreign_json.read_object(directory / "fingerprint.json")
        return [
            (
                "data",
                {
                    Path(path).name: _identity(identity)
                    for path, identity in {**read["data"], **read["samples"]}.items()
                },
            ),
            ("base model", {name: _identity(identity) for name, identity in read["model"].items()}),
            ("template", {"hash": read["template"][:_HASH]}),
            ("versions", read["versions"]),
            ("machine", {"devices": read["devices"]}),
        ]
    # none yet, or not as this version writes it
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return []


def _identity(identity: list[Any]) -> str:
    """A file by its hash and size."""
    size, digest = identity[0], str(identity[1])
    return f"{digest[:_HASH]}  {number_format.size(size)}"


def _flat(values: dict[str, Any], before: str = "") -> Iterator[tuple[str, str]]:
    for key, value in values.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{before}{key}.")
        else:
            yield f"{before}{key}", _text(value)


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        return ", ".join(_text(item) for item in value)
    return f"{value:g}" if isinstance(value, float) else json.dumps(value, ensure_ascii=False)
