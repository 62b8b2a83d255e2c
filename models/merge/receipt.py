"""`merge.json`: what a merged model was made of, and the hashes that prove that it still is."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from jobs.files import write_json
from jobs.foreign_json import Damaged
from jobs.luthier_error import LuthierError
from models import foreign
from models.hashing import file_hash

RECEIPT_FILE = "merge.json"


@dataclass(frozen=True)
class TensorRecord:
    """One tensor of the merged model.

    `made` says how: "copied" from the base, "lora", "dora", "saved" (replaced by the adapter),
    "rows" (trained new tokens), "bias", joined by "+" where several apply. `hash` is of its bytes
    as written. `largest_change` is the largest |merged - base|, both as float32 before rounding to
    `dtype`; 0 for a copy, None for rows that the base has not.
    """

    name: str
    file: str
    dtype: str
    shape: list[int]
    made: str
    hash: str
    largest_change: float | None


@dataclass(frozen=True)
class Source:
    """A directory that went into the merge: its path then, and the hashes of its weight and config
    files by name."""

    directory: str
    files: dict[str, str]


@dataclass(frozen=True)
class Receipt:
    """`files` are the hashes of all files of the merged model but this one, `seconds` is the time
    the merge took.

    `into` is "base" or "dequantised", `dtype` what was asked for ("" for the base's own types).
    `tied`: input and output embedding are one tensor, as the config says; None if it says nothing.
    `stop_token_ids` are those of its generation config. `largest_change` is that of all tensors;
    `changed` and `copied` count them. `measured` says which merge was found closer to the trained
    model, and by how much (models.merge.qlora_choice.Comparison).
    """

    base: Source
    adapter: Source
    into: str
    dtype: str
    tied: bool | None
    stop_token_ids: list[int]
    files: dict[str, str]
    tensors: list[TensorRecord]
    largest_change: float
    changed: int
    copied: int
    device: str
    versions: dict[str, str]
    seconds: float
    created: float
    run: str | None = None
    measured: dict[str, Any] | None = None
    format: int = 1

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def write(directory: Path, receipt: Receipt) -> None:
    write_json(directory / RECEIPT_FILE, receipt.to_json())


def read(directory: Path) -> Receipt:
    """The receipt in a merged model's directory. LuthierError if there is none, or if it is
    damaged."""
    path = directory / RECEIPT_FILE
    try:
        return foreign.read(path, Receipt)
    except FileNotFoundError:
        hint = "`luthier merge` writes a receipt beside each model that it merges."
        raise LuthierError("No receipt", f"{directory} has no {RECEIPT_FILE}.", hint) from None
    except Damaged as error:
        raise LuthierError(
            "Unreadable receipt", f"{path} is damaged: {error.reason}.", "Merge again."
        ) from error


def differences(directory: Path, receipt: Receipt) -> list[str]:
    """What no longer is as the receipt says, a sentence each; empty if every file has its bytes.
    Reads the whole model."""
    differing = []
    for name, expected in receipt.files.items():
        path = directory / name
        if not path.is_file():
            differing.append(f"{name} is missing")
        elif file_hash(path) != expected:
            differing.append(f"{name} has changed since the merge")
    listed = {record.file for record in receipt.tensors}
    strangers = sorted(
        path.name for path in directory.glob("*.safetensors") if path.name not in listed
    )
    return [*differing, *(f"{name} does not belong to this merge" for name in strangers)]
