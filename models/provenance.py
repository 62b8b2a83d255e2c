"""What a run was made of, by hash: recorded while it trains (`hashes.json`), compared when its
model is certified."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path

from jobs.files import write_json
from jobs.foreign_json import Damaged
from jobs.luthier_error import LuthierError
from models import foreign
from models.folder import ModelFolder
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
    return Hashes(str(directory), parts, _template_hash(ModelFolder(directory)))


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
            "Luthier can no longer confirm that the run's files are unchanged.",
        ) from error


def changes(recorded: Hashes, base_directory: Path, result: Path) -> dict[str, list[str]]:
    """For each part of the model what differs from the record, a phrase each; empty lists where
    every byte is the same. `result` is the run's adapter or model."""
    now = base_hashes(base_directory)
    changes_of = {
        part: file_changes(files, now.base[part], base_directory)
        for part, files in recorded.base.items()
    }
    changes_of["chat template"] = _template_changes(recorded, now, ModelFolder(base_directory))
    current = _result_hashes(result)
    changes_of[ADAPTER if ModelFolder(result).is_adapter else MODEL] = (
        file_changes(recorded.adapter, current, result)
        if recorded.adapter
        else ["the run recorded no hash of it"]
    )
    return changes_of


def file_changes(recorded: dict[str, str], now: dict[str, str], directory: Path) -> list[str]:
    """What became of recorded files: missing, cut off, changed, or new beside them."""
    changed = []
    for name, expected in recorded.items():
        if name not in now:
            changed.append(f"{name} is missing")
        elif now[name] != expected:
            damage = weight_damage(directory / name) if name.endswith(".safetensors") else ""
            changed.append(
                f"{name} is cut off or damaged: {damage}" if damage else f"{name} has changed"
            )
    return [*changed, *(f"{name} is new" for name in now if name not in recorded)]


def weight_damage(path: Path) -> str:
    """Why a safetensors file cannot be read, by its header and size; "" if it can."""
    try:
        tensor_entries(path)
    except LuthierError as error:
        return error.message.partition(": ")[2]
    return ""


def _result_hashes(result: Path) -> dict[str, str]:
    is_adapter = ModelFolder(result).is_adapter
    return file_hashes(result, *(_ADAPTER_FILES if is_adapter else _MODEL_FILES))


def _template_hash(model: ModelFolder) -> str:
    return bytes_hash((model.chat_template or "").encode())


def _template_changes(recorded: Hashes, now: Hashes, base: ModelFolder) -> list[str]:
    """Earlier versions took the hash of all templates of tokenizer_config.json where it has
    several. One that stands in a file whose bytes are the recorded ones is no other."""
    if now.template == recorded.template:
        return []
    before, after = (
        hashes.base["tokenizer"].get(base.template_source) for hashes in (recorded, now)
    )
    return [] if before is not None and before == after else ["its text has changed"]


def _write(run_directory: Path, hashes: Hashes) -> None:
    write_json(run_directory / HASHES_FILE, asdict(hashes))
