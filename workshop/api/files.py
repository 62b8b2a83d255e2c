"""The uploaded files: a folder each in the home, whole or absent."""

from __future__ import annotations

import re
import secrets
import shutil
import time
from pathlib import Path
from typing import Any

import msgspec

from jobs.files import flush, write_atomic
from jobs.foreign_json import Damaged
from jobs.home import home, private_folder
from models import foreign
from workshop.api.errors import ApiError, no_such_file
from workshop.api.file_check import FileCheck

_ID = re.compile(r"file-[0-9a-f]{24}")
_RECORD = "file.json"
_UPLOADING, _REMOVING = ".uploading-", ".removing-"
_ENDINGS = (".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".parquet")
_PACKED = (".gz", ".zst")
_LONGEST_NAME = 200


class StoredFile(msgspec.Struct, frozen=True):
    """What is known of a file beside its content."""

    id: str
    filename: str
    """As the client named it."""
    purpose: str
    bytes: int
    created_at: int
    sha256: str
    stored: str
    """The file's name in its folder."""
    check: FileCheck = msgspec.field(default_factory=FileCheck)

    @property
    def path(self) -> Path:
        return files_directory() / self.id / self.stored

    def to_json(self) -> dict[str, Any]:
        """As OpenAI's FileObject, with the hash beside it."""
        return {
            "id": self.id,
            "object": "file",
            "bytes": self.bytes,
            "created_at": self.created_at,
            "expires_at": None,
            "filename": self.filename,
            "purpose": self.purpose,
            "status": "processed",
            "status_details": self.check.details,
            "sha256": self.sha256,
        }


class Upload:
    """A file that is being received: it has another name until it is whole."""

    def __init__(self) -> None:
        mode = private_folder(files_directory())
        self.id = f"file-{secrets.token_hex(12)}"
        self.folder = files_directory() / f"{_UPLOADING}{self.id}"
        self.folder.mkdir(mode=mode)

    def path_for(self, filename: str) -> Path:
        """Where the content goes. Its ending tells readers what it is: that of the client's name if
        it is one of data, else JSON Lines'."""
        return self.folder / f"data{_data_ending(filename)}"

    def accept(
        self, path: Path, filename: str, purpose: str, sha256: str, check: FileCheck
    ) -> StoredFile:
        """Write the record, have all of it on the disk, and give it its name."""
        stored = StoredFile(
            id=self.id,
            filename=filename[:_LONGEST_NAME],
            purpose=purpose,
            bytes=path.stat().st_size,
            created_at=int(time.time()),
            sha256=sha256,
            stored=path.name,
            check=check,
        )
        flush(path)
        write_atomic(self.folder / _RECORD, msgspec.json.encode(stored).decode())
        flush(self.folder)
        self.folder.rename(files_directory() / self.id)
        flush(files_directory())
        return stored

    def discard(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)


def files_directory() -> Path:
    return home() / "api" / "files"


def sweep() -> None:
    """Delete what a killed API left half received or half deleted."""
    for prefix in (_UPLOADING, _REMOVING):
        for folder in files_directory().glob(f"{prefix}*"):
            shutil.rmtree(folder, ignore_errors=True)


def stored_file(file_id: str, param: str | None = None) -> StoredFile:
    """ApiError if there is none of this id."""
    if not _ID.fullmatch(file_id):
        raise no_such_file(file_id[:100], param)
    try:
        return foreign.read(files_directory() / file_id / _RECORD, StoredFile)
    except FileNotFoundError:
        raise no_such_file(file_id, param) from None
    except Damaged as error:
        raise ApiError(409, "file_damaged", error.message, param or "id") from None


def stored_files() -> list[StoredFile]:
    """The newest first. Those whose record is damaged are left out."""
    files = []
    for folder in files_directory().glob("file-*"):
        try:
            files.append(stored_file(folder.name))
        except ApiError:
            continue
    return sorted(files, key=lambda file: (file.created_at, file.id), reverse=True)


def remove_file(file: StoredFile) -> None:
    """Of several who delete it at once, one does; the others have it gone."""
    doomed = files_directory() / f"{_REMOVING}{file.id}-{secrets.token_hex(4)}"
    try:
        (files_directory() / file.id).rename(doomed)
    except FileNotFoundError:
        raise no_such_file(file.id) from None
    shutil.rmtree(doomed, ignore_errors=True)


def _data_ending(filename: str) -> str:
    name = filename.lower()
    packed = next((ending for ending in _PACKED if name.endswith(ending)), "")
    ending = Path(name.removesuffix(packed)).suffix
    return ending + packed if ending in _ENDINGS else ".jsonl"
