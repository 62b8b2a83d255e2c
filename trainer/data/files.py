"""Rows from any source: a file of any common kind, a folder of them, or a data set of the hub. They
stream; none vanishes.

Not light: for workers and the command line's own processes, since Parquet and zstd need pyarrow.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from jobs.files import expanded
from jobs.luthier_error import LuthierError
from jobs.near import did_you_mean_file
from jobs.os_errors import unencodable
from models.hub_names import hub_name, hub_name_of_path, is_url
from trainer.data import encodings
from trainer.data.files_json import json_rows
from trainer.data.files_tables import csv_rows, parquet_rows
from trainer.data.formats_markup import markup_of
from trainer.data.formats_text import is_transcript
from trainer.data.hub import HUB, hub_rows, parsed
from trainer.data.streams import Piece, Reader

_COMPRESSED = (".gz", ".gzip", ".zst", ".zstd")
_KINDS = {
    ".jsonl": "lines",
    ".ndjson": "lines",
    ".json": "json",
    ".csv": "csv",
    ".tsv": "tsv",
    ".parquet": "parquet",
}
# What a hub data set's folder has beside its data.
_DESCRIPTIONS = {
    "dataset_info.json",
    "dataset_infos.json",
    "dataset_dict.json",
    "state.json",
    "package.json",
}
_KNOWN = "JSON, JSON Lines, CSV, TSV and Parquet are data, each plain, .gz or .zst"
FROM_DOCUMENTS = "`luthier make FILE` makes conversations of documents and transcripts."
_SNIFFED = 4096
# A date, a time and a name at the first line's beginning; phones write them in brackets or before a
# dash.
_WHATSAPP = re.compile(
    r"[\s\ufeff\u200e]*\[?\d{1,4}[./-]\d{1,2}[./-]\d{1,4},?\s\d{1,2}:\d{2}(?::\d{2})?(?:\s?[AP]\.?\s?M\.?)?(?:\]|"
    r" -)\s[^:\n]+",
    re.IGNORECASE,
)
_JSON = re.compile(r"\{|\[\s*[\[{\]\"]")
_WHO = (
    "Decide whose words the assistant should learn, and write each conversation as a row of JSON"
    ' Lines: {"messages": [...]}.'
)
_OTHERS = {
    b"PK\x03\x04": ("a zip archive or a spreadsheet", "Unpack it, or save the sheet as CSV."),
    b"\xfd7zXZ": ("an xz archive", "Unpack it with xz -d."),
    b"BZh": ("a bzip2 archive", "Unpack it with bunzip2."),
    b"ARROW1": ("an Arrow file", "Save the data set as Parquet (Dataset.to_parquet)."),
    b"SQLite format 3": ("a SQLite database", "Export its table as CSV."),
    b"version https://git-lfs": (
        "a Git LFS pointer: the data itself was not downloaded",
        "Run git lfs pull, or download the file again.",
    ),
    b"<!DOCTYPE": ("a web page", "It was saved instead of the data. Download the file itself."),
    b"<html": ("a web page", "It was saved instead of the data. Download the file itself."),
    b"\0" * 8: (
        "all zero bytes at its beginning",
        "The file was never completely written. Download it again.",
    ),
}


@dataclass(frozen=True, slots=True)
class RawRow:
    """One row as the file has it: its value, or what is wrong with it.

    Where a file cannot be read on, its last row stands for the rest, with the rest's size where
    that can be known.
    """

    file: str
    row: int
    """Counts from 0."""
    value: dict[str, Any] | None
    damage: str | None
    """What is wrong with a row that has no value."""
    size: int
    """Its bytes, decompressed."""
    stands_for_file: bool = False
    """A file without rows has this one instead, so that the ledger has an entry for it."""


class UnknownKind(LuthierError):
    """Neither the file's name nor its beginning says how to read it."""


class Files(NamedTuple):
    """The data files of a folder, in order, and the others, which are left alone."""

    data: list[Path]
    skipped: list[Path]


def read_rows(
    source: str, on_progress: Callable[[int], None] | None = None, encoding: str = ""
) -> Iterator[RawRow]:
    """Every row of a source, in order, damaged ones too. LuthierError for what cannot be read at
    all.

    `encoding` is that of files that are no UTF-8. `on_progress` gets the bytes read so far, of
    `source_size(source)`; what it raises ends the reading.
    """
    progress = on_progress or (lambda _: None)
    if encoding:
        encodings.check(encoding)
    if source.startswith(HUB):
        yield from _numbered(source, hub_rows(source, progress), "the data set has no rows")
        return
    before = 0
    for path in source_files(source).data:
        yield from _file_rows(path, lambda read, before=before: progress(before + read), encoding)  # type: ignore[misc]
        before += _size(path)


def check_source(source: str) -> None:
    """LuthierError if there is nothing of that name; of a data set of the hub only the name is
    looked at."""
    if source.startswith(HUB):
        parsed(source)
    else:
        source_files(source)


def source_files(source: str) -> Files:
    """The files of a source: itself, or all below a folder, sorted by path, hidden ones left out.
    LuthierError if there is none."""
    if is_url(source):
        raise _address(source)
    path = expanded(source)
    try:
        if path.is_dir():
            return _told_as_text(_folder_files(path))
        if path.is_file():
            return _told_as_text(Files([path], []))
    except UnicodeEncodeError as error:  # a ledger names its files, and is a text
        raise unencodable(error) from None
    except PermissionError as error:
        raise unreadable(Path(error.filename or path), error) from None
    except (OSError, ValueError) as error:
        raise LuthierError(
            "No such data", f"{source!r} is not a path ({error}).", _NO_SUCH_HINT
        ) from None
    if path.exists():
        raise LuthierError(
            "Not a data file",
            f"{path} is neither a file nor a folder.",
            "Save the data as a file first.",
        )
    if repository := hub_name_of_path(path):
        hint = f'For a data set on the hub, write "{HUB}{repository}".'
        raise LuthierError(
            "No such data",
            f"{path} does not exist, and {repository} looks like a data set on the hub.",
            hint,
        )
    meant = did_you_mean_file(path)
    raise LuthierError("No such data", f"{path} does not exist.", f"{meant}{_NO_SUCH_HINT}")


def _told_as_text(files: Files) -> Files:
    """UnicodeEncodeError for a name that is no text."""
    for path in files.data:
        str(path).encode()
    return files


def _address(source: str) -> LuthierError:
    repository = hub_name(source)
    hint = (
        f'For a data set on the hub, write "{HUB}{repository}".'
        if repository
        else "Download it, and name the file."
    )
    return LuthierError(
        "A web address, not a file",
        f"Luthier does not download {source}: data must be in files or on the hub.",
        hint,
    )


_NO_SUCH_HINT = (
    "Name a data file, a folder of data files, or hub:owner/name. In a recipe, paths are relative"
    " to the recipe."
)


def source_size(source: str) -> int:
    """Bytes on disk; 0 for a data set of the hub, whose size is not known before it is read."""
    return 0 if source.startswith(HUB) else sum(map(_size, source_files(source).data))


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:  # it went meanwhile: whoever opens it will say so
        return 0


def unreadable(path: Path, error: OSError) -> LuthierError:
    """The error for a file that exists but cannot be read."""
    if isinstance(error, PermissionError):
        return LuthierError(
            "Data not readable",
            f"You have no permission to read {path}.",
            "Change its permissions.",
        )
    if isinstance(error, FileNotFoundError):
        problem = (
            f"points to {path.readlink()}, which does not exist"
            if path.is_symlink()
            else "no longer exists"
        )
        return LuthierError(
            "Data not readable",
            f"{path} {problem}.",
            "Put the file back, or remove it from the data.",
        )
    return LuthierError(
        "Data not readable", f"{path}: {error.strerror}.", "Check the disk that holds it."
    )


def _folder_files(folder: Path) -> Files:
    def fail(error: OSError) -> None:
        raise error

    files = Files([], [])
    for parent, folders, names in os.walk(folder, onerror=fail):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        files.skipped.extend(
            Path(parent, name) for name in folders if Path(parent, name).is_symlink()
        )
        for name in names:
            path = Path(parent, name)
            if not name.startswith("."):
                is_data = (
                    _kind_by_name(path) is not None
                    and name not in _DESCRIPTIONS
                    and (path.is_file() or path.is_symlink())
                )
                (files.data if is_data else files.skipped).append(path)
    if not files.data:
        hint_of_others = (
            f", only other files such as {files.skipped[0].name}" if files.skipped else ""
        )
        raise LuthierError(
            "No data in the folder",
            f"{folder} has no data file{hint_of_others}.",
            f"Luthier recognises data files by their names: {_KNOWN}. {FROM_DOCUMENTS}",
        )
    return Files(sorted(files.data), sorted(files.skipped))


def _kind_by_name(path: Path) -> str | None:
    suffixes = [suffix.lower() for suffix in path.suffixes]
    while suffixes and suffixes[-1] in _COMPRESSED:
        suffixes.pop()
    return _KINDS.get(suffixes[-1]) if suffixes else None


def _file_rows(path: Path, on_read: Callable[[int], None], encoding: str) -> Iterator[RawRow]:
    try:
        reader = Reader(path, on_read, encoding)
    except OSError as error:
        raise unreadable(path, error) from None
    with reader:
        lack = "the file has no rows" if reader.head else "the file is empty"
        yield from _numbered(str(path), _pieces(path, reader, on_read), lack)


def _numbered(file: str, pieces: Iterator[Piece], lack: str) -> Iterator[RawRow]:
    """`lack` says what is wrong with a file that has no pieces."""
    number = -1
    for number, piece in enumerate(pieces):
        yield RawRow(file, number, piece.value, piece.damage, piece.size)
    if number < 0:
        yield RawRow(file, 0, None, lack, 0, stands_for_file=True)


def _check_text(path: Path, reader: Reader) -> None:
    """LuthierError for a file whose name says nothing and whose beginning is no JSON."""
    begins = reader.head[:_SNIFFED].decode(reader.encoding, errors="replace")
    begins = begins.removeprefix("\ufeff").lstrip()
    if _WHATSAPP.match(begins):
        raise LuthierError(
            "Luthier does not read this layout", f"{path} is a WhatsApp chat between people.", _WHO
        )
    if not _JSON.match(begins):
        markup = markup_of(begins)
        signs = "lines of roles" if markup is None else f"the markup of {markup.title}"
        if markup is not None or is_transcript(begins, {}):
            raise LuthierError(
                "Luthier does not read this layout",
                f"{path} is plain text with turns in {signs}, and nothing marks where a"
                " conversation ends.",
                'Write each conversation as a row of JSON Lines: {"text": "..."}. Luthier then'
                " reads its turns.",
            )
    if begins[:1] not in ("{", "[", ""):
        raise UnknownKind(
            "Unknown kind of file",
            f"Luthier cannot read {path}.",
            f"Luthier goes by the ending of the name: {_KNOWN}. {FROM_DOCUMENTS}",
        )


def _pieces(path: Path, reader: Reader, on_read: Callable[[int], None]) -> Iterator[Piece]:
    other = next((words for start, words in _OTHERS.items() if reader.head.startswith(start)), None)
    if other is not None:
        raise LuthierError("Not a data file", f"{path} is {other[0]}.", other[1])
    kind = "parquet" if reader.head.startswith(b"PAR1") else _kind_by_name(path)
    if kind is None:
        _check_text(path, reader)
        kind = "json"
    if kind != "parquet" and reader.encoding == "utf-8" and encodings.is_other(reader.head):
        raise encodings.refusal(path, reader.head)
    if kind == "parquet":
        return parquet_rows(reader, on_read)
    if kind in ("csv", "tsv"):
        return csv_rows(reader, tabs=kind == "tsv")
    return json_rows(reader, by_line=kind == "lines")
