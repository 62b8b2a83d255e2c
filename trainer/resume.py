"""Whether an interrupted run can go on exactly: what it depended on when it began, and what of that
has changed. Light.

The first attempt writes `fingerprint.json` into the run's folder before it trains. A later one
compares: its recipe, the files of its data, the samples made of them, the base model's files, the
versions of the libraries, the device. It goes on if all of that is the same, or if somebody
insists; what has changed is then part of the run's record.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import sys
from functools import cache
from pathlib import Path
from typing import Any

import msgspec

from jobs import foreign_json
from jobs.files import write_json
from jobs.gpus import gpus
from jobs.luthier_error import LuthierError
from models.run_folder import LEDGER_FILE, RunFolder
from trainer import teacher
from trainer.data.files import source_files
from trainer.data.hub import HUB
from trainer.key_facts import Resume, described_keys
from trainer.recipe import Recipe

ORDER_FILE = "resume.json"

_PACKAGES = ("luthier", "torch", "transformers", "trl", "peft", "accelerate", "bitsandbytes")
_MODEL_FILES = (
    "*.safetensors",
    "config.json",
    "generation_config.json",
    "tokenizer*",
    "*.jinja",
    "special_tokens_map.json",
)
_WHOLE = 64 << 20  # bytes: files up to this size are hashed whole
_BLOCK, _BLOCKS = 256 << 10, 64


_PARTS = {
    **dict.fromkeys(("recipe", "data", "samples", "model", "versions"), dict[str, Any]),
    "teacher": dict[str, Any] | None,
    "template": str,
    "devices": list[str],
}


@cache
def keys_that_resume(rule: Resume) -> tuple[str, ...]:
    """Keys and sections of the recipe with which a run goes on so."""
    return tuple(key.name for key in described_keys(Recipe) if key.facts.resume == rule)


class Changed(LuthierError):
    """What matters has changed since the run began; it can go on by force all the same."""


def begun(run: Path) -> bool:
    """Whether an attempt of this run has come to its training."""
    return RunFolder(run).fingerprint.is_file()


def fingerprint(
    run: Path, recipe: Recipe, model_directory: Path, versions: dict[str, str] | None = None
) -> dict[str, Any]:
    """What the run depends on, as it is now. `versions` are those of this interpreter, unless
    given."""
    data = [
        path
        for source in recipe.data_settings.all_sources
        if not source.path.startswith(HUB)
        for path in _source_files(source.path)
    ]
    model = sorted(
        {
            path
            for pattern in _MODEL_FILES
            for path in model_directory.glob(pattern)
            if path.is_file()
        }
    )
    return {
        "recipe": _flat(msgspec.to_builtins(recipe)),
        "data": {str(path): identity(path) for path in data},
        "samples": {
            path.name: identity(path)
            for path in sorted(RunFolder(run).data.glob("*.jsonl"))
            if path.name != LEDGER_FILE
        },
        "model": {path.name: identity(path) for path in model},
        "template": _template(model_directory),
        **_teacher(recipe),
        "versions": installed_versions() if versions is None else versions,
        "devices": sorted({gpu.name for gpu in gpus()}) or ["cpu"],
    }


def installed_versions() -> dict[str, str]:
    """The libraries that the trained weights depend on, "" where one is missing; of Unsloth only in
    the worker of a run that it trains."""
    versions = {}
    for name in (*_PACKAGES, *(("unsloth", "unsloth_zoo") if "unsloth" in sys.modules else ())):
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            versions[name] = ""
    return versions


def write(run: Path, content: dict[str, Any]) -> None:
    write_json(RunFolder(run).fingerprint, content)


def recorded(run: Path) -> dict[str, Any]:
    path = RunFolder(run).fingerprint
    content = foreign_json.read_object(path)
    foreign_json.check({**dict.fromkeys(_PARTS), **content}, _PARTS, path)
    # a key that is newer than the run had no other value than its default
    usual = _flat(msgspec.to_builtins(Recipe(data=["-"])))
    return {**content, "recipe": {**usual, **content["recipe"]}}


def differences(before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """What has changed, each in words. Data files that are gone do not count: the run has the
    samples that were made of them."""
    changes = [
        f"recipe: {key} was {_short(before['recipe'].get(key))}, now"
        f" {_short(now['recipe'].get(key))}"
        for key in sorted(before["recipe"].keys() | now["recipe"].keys())
        if before["recipe"].get(key) != now["recipe"].get(key)
    ]
    for path, identity in now["data"].items():
        if path not in before["data"]:
            changes.append(f"data: {path} is new")
        elif before["data"][path] != identity:
            changes.append(f"data: {path} has changed")
    changes += [
        f"samples: data/{name} {how}" for name, how in _changes(before["samples"], now["samples"])
    ]
    if before["template"] != now["template"]:
        changes.append("chat template: changed")
    for name, how in _changes(before["model"], now["model"]):
        only_template = before["template"] != now["template"] and name in (
            "tokenizer_config.json",
            "chat_template.jinja",
        )
        if not only_template:
            changes.append(
                f"{'tokenizer' if name.startswith('tokenizer') else 'base model'}: {name} {how}"
            )
    teachers = before.get("teacher") or {}, now.get("teacher") or {}
    changes += [f"teacher: {name} {how}" for name, how in _changes(*teachers)]
    changes += [  # what was not there when it began, it does not need
        f"{name}: was {before['versions'][name]}, now {version or 'absent'}"
        for name, version in now["versions"].items()
        if before["versions"].get(name) and before["versions"][name] != version
    ]
    if not set(before["devices"]) & set(now["devices"]):
        changes.append(
            f"device: was {', '.join(before['devices'])}, now {', '.join(now['devices'])}"
        )
    return changes


def check_possible(run: str, before: dict[str, Any], now: dict[str, Any]) -> None:
    """LuthierError for a change that no force can go on with."""
    changed = [
        key
        for key in keys_that_resume("never")
        if before["recipe"].get(key) != now["recipe"].get(key)
    ]
    if changed:
        message = (
            f"The recipe of {run} has changed since it began: {', '.join(changed)}. Its"
            " checkpoints do not fit the new values."
        )
        raise LuthierError(
            "This change needs a new run",
            message,
            "Restore the old values, or start again from scratch with `luthier train --again"
            f" {run}`.",
        )
    if now["devices"] == ["cpu"] and before["devices"] != ["cpu"]:
        message = (
            f"{run} was planned for a GPU ({', '.join(before['devices'])}), but nvidia-smi lists"
            " none here."
        )
        raise LuthierError(
            "No GPU",
            message,
            f"`luthier train --again {run}` starts a new run, planned for this machine.",
        )


def refusal(run: str, changes: list[str]) -> Changed:
    return Changed(
        "The run cannot be resumed exactly",
        f"These have changed since {run} began: {'; '.join(changes)}.",
        f"`luthier resume {run} --force` resumes it anyway, with the samples it prepared, and"
        f" records these changes; `luthier train --again {run}` starts again from scratch.",
    )


def order(run: Path, *, forced: bool) -> None:
    """Tell the next attempt whether to go on in spite of differences."""
    write_json(run / ORDER_FILE, {"forced": forced})


def is_forced(run: Path) -> bool:
    path = run / ORDER_FILE
    return path.is_file() and foreign_json.read_object(path).get("forced") is True


def _source_files(source: str) -> list[Path]:
    try:
        return [path.absolute() for path in source_files(source).data]
    except LuthierError:
        return []  # gone


def _teacher(recipe: Recipe) -> dict[str, Any]:
    """The files of a teacher on this machine."""
    files = teacher.files(recipe)
    return {"teacher": {path.name: identity(path) for path in files}} if files else {}


def _changes(before: dict[str, Any], now: dict[str, Any]) -> list[tuple[str, str]]:
    gone = [(name, "is gone") for name in before if name not in now]
    new = [(name, "is new") for name in now if name not in before]
    return [
        *gone,
        *new,
        *((name, "has changed") for name in now if name in before and before[name] != now[name]),
    ]


def _flat(value: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    free = keys_that_resume("free")
    for key, inner in value.items():
        if not prefix and key in free:
            continue
        if isinstance(inner, dict) and inner:
            flat |= _flat(inner, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = inner
    return flat


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _template(model_directory: Path) -> str:
    """The hash of the chat template, which is a file of its own or a value in the tokenizer's
    config."""
    digest = hashlib.blake2b(digest_size=16)
    for path in sorted(model_directory.glob("*.jinja")):
        digest.update(path.read_bytes())
    config = model_directory / "tokenizer_config.json"
    if config.is_file():
        try:
            digest.update(
                json.dumps(
                    foreign_json.read_object(config, lenient=True).get("chat_template")
                ).encode()
            )
        except (ValueError, AttributeError):
            digest.update(config.read_bytes())
    return digest.hexdigest()


def identity(path: Path) -> list[Any]:
    """Size and hash. Of a large file its beginning, its end and blocks in between: a changed weight
    file differs in all of them."""
    digest = hashlib.blake2b(digest_size=16)
    size = path.stat().st_size
    with path.open("rb") as file:
        if size <= _WHOLE:
            digest.update(file.read())
        else:
            for number in range(_BLOCKS):
                file.seek((size - _BLOCK) * number // (_BLOCKS - 1))
                digest.update(file.read(_BLOCK))
    return [size, digest.hexdigest()]
