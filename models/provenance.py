"""What a run was made of, by hash: recorded while it trains (`hashes.json`), compared when its
model is certified."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

from jobs import foreign_json
from jobs.errors import LuthierError
from jobs.files import write_json
from jobs.foreign_json import Damaged
from models import foreign
from models.hashing import bytes_hash, file_hashes
from models.weights import tensor_entries

HASHES_FILE = "hashes.json"

# The parts of a model that a server reads, each by the names of its files.
BASE_PARTS = {
    "base weights": ("*.safetensors", "*.safetensors.index.json"),
    "base configuration": ("config.json", "generation_config.json"),
    "tokenizer": (
        "tokenizer*",
        "special_tokens_map.json",
        "added_tokens.json",
        "vocab*",
        "merges.txt",
        "*.model",
    ),
}
ADAPTER, MODEL = "adapter", "model"  # what a run makes
_ADAPTER_FILES = ("adapter_config.json", "adapter_model*")
_MODEL_FILES = tuple(pattern for patterns in BASE_PARTS.values() for pattern in patterns)


@dataclass(frozen=True)
class Hashes:
    """`base` has the file hashes of each part by name; `template` is of the text of the chat
    template, wherever it stands. `adapter` are those of what the run made, also where it is a whole
    model."""

    directory: str
    base: dict[str, dict[str, str]]
    template: str
    adapter: dict[str, str] = field(default_factory=dict)


def record_base(run_directory: Path, base_directory: Path) -> None:
    """Write down what the run starts from."""
    _write(run_directory, base_hashes(base_directory))


def record_result(run_directory: Path, result: Path) -> None:
    """Add what the run has made: an adapter, or a whole model."""
    hashes = read(run_directory)
    if hashes is not None:
        _write(
            run_directory,
            Hashes(hashes.directory, hashes.base, hashes.template, _result_hashes(result)),
        )


def base_hashes(directory: Path) -> Hashes:
    """The hashes of a model's directory as it is."""
    parts = {part: file_hashes(directory, *patterns) for part, patterns in BASE_PARTS.items()}
    return Hashes(str(directory), parts, bytes_hash(template_text(directory).encode()))


def read(run_directory: Path) -> Hashes | None:
    """What the run recorded; None if it recorded nothing (runs of earlier versions)."""
    path = run_directory / HASHES_FILE
    try:
        return foreign.read(path, Hashes)
    except FileNotFoundError:
        return None
    except Damaged as error:
        raise LuthierError(
            "Unreadable hashes",
            f"{path} is damaged: {error.reason}.",
            "The run's files can no longer be vouched for.",
        ) from error


def changes(recorded: Hashes, base_directory: Path, result: Path) -> dict[str, list[str]]:
    """For each part of the model what differs from the record, a phrase each; empty lists where
    every byte is the same. `result` is the run's adapter or model."""
    now = base_hashes(base_directory)
    found = {
        part: file_changes(files, now.base[part], base_directory)
        for part, files in recorded.base.items()
    }
    found["chat template"] = [] if now.template == recorded.template else ["its text is another"]
    made = _result_hashes(result)
    found[ADAPTER if _is_adapter(result) else MODEL] = (
        file_changes(recorded.adapter, made, result)
        if recorded.adapter
        else ["no hash of it was recorded"]
    )
    return found


def file_changes(recorded: dict[str, str], now: dict[str, str], directory: Path) -> list[str]:
    """What became of recorded files: missing, cut off, changed, or new beside them."""
    found = []
    for name, expected in recorded.items():
        if name not in now:
            found.append(f"{name} is missing")
        elif now[name] != expected:
            damage = weight_damage(directory / name) if name.endswith(".safetensors") else ""
            found.append(
                f"{name} is cut off or damaged: {damage}" if damage else f"{name} has other bytes"
            )
    return [*found, *(f"{name} is new" for name in now if name not in recorded)]


def weight_damage(path: Path) -> str:
    """Why a safetensors file cannot be read, by its header and size; "" if it can."""
    try:
        tensor_entries(path)
    except LuthierError as error:
        return error.message.partition(": ")[2]
    return ""


def template_text(directory: Path) -> str:
    """The text of a model's chat template, as it stands in its own file or in
    tokenizer_config.json; "" if it has none."""
    own = directory / "chat_template.jinja"
    if own.is_file():
        return own.read_text(encoding="utf-8")
    for name in ("chat_template.json", "tokenizer_config.json"):
        if (directory / name).is_file():
            template = foreign_json.read_object(directory / name, lenient=True).get("chat_template")
            if template:
                return (
                    template if isinstance(template, str) else json.dumps(template, sort_keys=True)
                )
    return ""


def _result_hashes(result: Path) -> dict[str, str]:
    return file_hashes(result, *(_ADAPTER_FILES if _is_adapter(result) else _MODEL_FILES))


def _is_adapter(result: Path) -> bool:
    return (result / "adapter_config.json").is_file()


def _write(run_directory: Path, hashes: Hashes) -> None:
    write_json(run_directory / HASHES_FILE, asdict(hashes))
