"""Receiving a file: multipart form data goes from the socket to the disk in pieces, hashed on the
way, and ends at the limit. Heavy: for the API's process."""

from __future__ import annotations

import asyncio
import hashlib
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import IO, cast

from python_multipart.exceptions import MultipartParseError
from python_multipart.multipart import MultipartParser, parse_options_header

from workshop.api.errors import ApiError
from workshop.api.fields import check_fields
from workshop.api.file_check import check_file
from workshop.api.files import StoredFile, Upload, files_directory

_LONGEST_FIELD = 4096
_MOST_PARTS = 16
_ROOM_AROUND = 64_000  # bytes of boundaries, headers and other fields
_SPARE_DISK = 256_000_000  # bytes that stay free for the runs


class _Form:
    """The parts as they come. The parser calls back for each piece."""

    def __init__(self, upload: Upload, largest: int) -> None:
        self.fields: dict[str, str] = {}
        self.filename: str | None = None
        self.path: Path | None = None
        self.complete = False
        self.digest = hashlib.sha256()
        self._upload, self._largest = upload, largest
        self._file: IO[bytes] | None = None
        self._size = self._parts = 0
        self._header, self._value = b"", b""
        self._disposition: dict[bytes, bytes] = {}
        self._text = b""

    def callbacks(self) -> dict[str, object]:
        return {
            "on_part_begin": self._begin,
            "on_header_field": self._header_field,
            "on_header_value": self._header_value,
            "on_header_end": self._header_end,
            "on_headers_finished": self._headers_finished,
            "on_part_data": self._data,
            "on_part_end": self._end,
            "on_end": self._all,
        }

    def close(self) -> None:
        if self._file is not None:
            self._file.close()

    def _begin(self) -> None:
        self._parts += 1
        if self._parts > _MOST_PARTS:
            raise ApiError(400, "too_many_parts", f"A form has at most {_MOST_PARTS} parts here.")
        self._disposition, self._text = {}, b""

    def _header_field(self, data: bytes, start: int, end: int) -> None:
        self._header += data[start:end]

    def _header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]
        if len(self._value) > _LONGEST_FIELD:
            raise ApiError(400, "header_too_long", "A header of the form is too long.")

    def _header_end(self) -> None:
        if self._header.lower() == b"content-disposition":
            self._disposition = parse_options_header(self._value)[1]
        self._header, self._value = b"", b""

    @property
    def _name(self) -> str:
        return self._disposition.get(b"name", b"").decode("utf-8", "replace")

    def _headers_finished(self) -> None:
        if self._name != "file":
            return
        if self.filename is not None:
            raise ApiError(400, "invalid_request", "The form has more than one file.", "file")
        name = self._disposition.get(b"filename", b"").decode("utf-8", "replace")
        self.filename = name.replace("\\", "/").rpartition("/")[2] or "file.jsonl"
        self.path = self._upload.path_for(self.filename)
        self._file = self.path.open("xb")

    def _data(self, data: bytes, start: int, end: int) -> None:
        piece = data[start:end]
        if self._name == "file" and self._file is not None:
            self._size += len(piece)
            if self._size > self._largest:
                raise _too_large(self._largest)
            self.digest.update(piece)
            self._file.write(piece)
            return
        self._text += piece
        if len(self._text) > _LONGEST_FIELD:
            raise ApiError(400, "field_too_long", f"{self._name[:100]} is too long.", self._name)

    def _end(self) -> None:
        if self._name != "file":
            self.fields[self._name] = self._text.decode("utf-8", "replace")
        self.close()

    def _all(self) -> None:
        self.complete = True


async def receive(
    content_type: str, length: str | None, stream: AsyncIterator[bytes], largest: int
) -> StoredFile:
    """The file, once it is whole, checked and on the disk. ApiError otherwise: then nothing of it
    stays."""
    kind, options = parse_options_header(content_type)
    boundary = options.get(b"boundary")
    if kind != b"multipart/form-data" or not boundary:
        raise ApiError(
            415 if kind != b"multipart/form-data" else 400,
            "not_a_form",
            "A file is sent as multipart/form-data, with the parts `file` and `purpose`.",
        )
    _check_room(length, largest)
    upload = Upload()
    form = _Form(upload, largest)
    try:
        await _parse(boundary, form, stream)
        purpose = _checked(form)
        path, filename = cast(Path, form.path), cast(str, form.filename)
        check = await asyncio.to_thread(check_file, path, filename)
        digest = form.digest.hexdigest()
        return await asyncio.to_thread(upload.accept, path, filename, purpose, digest, check)
    finally:
        form.close()
        upload.discard()  # nothing is there any more where it was accepted


async def _parse(boundary: bytes, form: _Form, stream: AsyncIterator[bytes]) -> None:
    try:
        parser = MultipartParser(boundary, form.callbacks())  # type: ignore[arg-type]
        async for piece in stream:
            parser.write(piece)
        parser.finalize()
    except MultipartParseError as error:
        raise ApiError(400, "broken_form", f"The form cannot be read: {error}.") from None
    if not form.complete:
        raise ApiError(400, "broken_form", "The form ends before its last boundary.")


def _checked(form: _Form) -> str:
    """The purpose, if the form has all that it must have."""
    fields = {name.partition("[")[0]: text for name, text in form.fields.items()}
    check_fields(fields, "files")
    if form.path is None:
        raise ApiError(400, "missing_required_parameter", "The form has no part `file`.", "file")
    purpose = fields.get("purpose")
    if purpose is None:
        raise ApiError(
            400, "missing_required_parameter", "The form has no part `purpose`.", "purpose"
        )
    if purpose != "fine-tune":
        raise ApiError(
            400,
            "unsupported_value",
            f'purpose {purpose[:100]!r} is not honoured here: files are for "fine-tune".',
            "purpose",
        )
    return purpose


def _check_room(length: str | None, largest: int) -> None:
    """ApiError before the first byte where the form says that it is too long, or the disk is
    full."""
    announced = int(length) if length is not None and length.isdecimal() else 0
    if announced > largest + _ROOM_AROUND:
        raise _too_large(largest)
    directory = next(
        path for path in (files_directory(), *files_directory().parents) if path.is_dir()
    )
    if shutil.disk_usage(directory).free < announced + _SPARE_DISK:
        raise ApiError(
            507, "disk_full", f"There is no room for the file on the disk of {directory}."
        )


def _too_large(largest: int) -> ApiError:
    return ApiError(
        413,
        "file_too_large",
        f"A file may have at most {largest:,} bytes here (`luthier api --largest-file`).",
        "file",
    )
