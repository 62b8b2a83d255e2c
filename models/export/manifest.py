"""The list of an export's files with their hashes: `manifest.json`, written last, about every other
file. `luthier verify` holds the folder against it."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from jobs.foreign_json import Damaged
from jobs.luthier_error import LuthierError
from models import foreign
from models.export.files import Parcel
from models.hashing import bytes_hash, file_hash

MANIFEST_FILE = "manifest.json"


@dataclass(frozen=True)
class Manifest:
    files: dict[str, str]
    """The hash of each file by its name within the folder."""
    format: int = 1


def sealed(parcel: Parcel) -> Parcel:
    """The parcel with its manifest. It reads every file: a matter for the job, not for the window
    that starts it."""
    hashes = {
        name: bytes_hash(part) if isinstance(part, bytes) else file_hash(part)
        for name, part in parcel.files.items()
        if name != MANIFEST_FILE
    }
    text = json.dumps(asdict(Manifest(hashes)), indent=2, ensure_ascii=False) + "\n"
    return replace(parcel, files={**parcel.files, MANIFEST_FILE: text.encode()})


def read_manifest(folder: Path) -> Manifest | None:
    """None where there is none. LuthierError if it is damaged."""
    try:
        return foreign.read(folder / MANIFEST_FILE, Manifest)
    except FileNotFoundError:
        return None
    except Damaged as error:
        raise LuthierError(
            "Unreadable manifest",
            f"{folder / MANIFEST_FILE} is damaged: {error.reason}.",
            "Without it nobody can say whether the files are the exported ones. Export again.",
        ) from error
