"""A file's bytes as UTF-8: decompressed, decoded, and with a plain word where they end before their
time."""

from __future__ import annotations

import codecs
import gzip
import io
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import NamedTuple

from trainer.data import encodings

CHUNK = 1 << 20
# 16 MiB of text are some 4 million tokens: a longer row is a file of another kind, and reading it
# would need memory without bound.
LONGEST_ROW = 16 << 20
TOO_LONG = f"longer than {LONGEST_ROW >> 20} MiB, the limit for a row"

_CUT_OFF = "the compressed file is cut off"
_GZIP, _ZSTD = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"
# The UTF-32 marks come first: one of them begins as UTF-16's does.
_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)


class Piece(NamedTuple):
    """A row before it has a number: its value or what is wrong with it, and the bytes it takes of
    the text."""

    value: dict[str, object] | None
    damage: str | None
    size: int


class Line(NamedTuple):
    """A line of a text."""

    data: bytes | None
    """Without the newline; None where the line is too long."""
    start: int
    """Its first byte's place in the text."""
    size: int
    is_cut: bool = False
    """Whether the reading failed before the line's end."""


class Reader:
    """Reads a file in chunks. After the last one, `failure` says whether it ended too early, and
    why.

    `encoding` is that of a file that has no mark and is no UTF-8.
    """

    def __init__(self, path: Path, on_read: Callable[[int], None], encoding: str = "") -> None:
        self._path, self._on_read = path, on_read
        self.file = path.open("rb")
        self.failure: str | None = None
        start = self.file.read(4)
        self.file.seek(0)
        self.compression = "zstd" if start == _ZSTD else None
        if start.startswith(_GZIP):
            self.compression = "gzip"
        self._source: io.BufferedIOBase = _open(self.compression, self.file)
        self._given = 0
        self._salvaging = False
        self.head = self._bytes()
        self._first: bytes | None = self.head
        self._decode, self.encoding = self._decoder(encoding)

    def __enter__(self) -> Reader:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.file.close()

    def read(self) -> bytes:
        """The next chunk of the text as UTF-8; b"" at its end. What is not valid UTF-8 stays as it
        is."""
        while True:
            data = self.raw()
            text = self._decode(data)
            if text or not data:
                return text

    def raw(self) -> bytes:
        """The next chunk as the file has it, decompressed."""
        if self._first is not None:
            data, self._first = self._first, None
            return data
        return self._bytes()

    def _bytes(self) -> bytes:
        parts: list[bytes] = []
        missing = CHUNK
        while missing > 0 and self.failure is None:
            try:
                if self.compression == "zstd":
                    part = self._source.read(1 if self._salvaging else missing)
                else:
                    part = self._source.read1(missing)
            except EOFError:
                self.failure = _CUT_OFF
            except (OSError, zlib.error) as error:
                if self.compression == "zstd" and not self._salvaging:
                    self._salvage(sum(map(len, parts)))
                else:
                    self.failure = (
                        _CUT_OFF
                        if "truncated" in str(error).lower()
                        else f"the rest of the file cannot be read ({error})"
                    )
            else:
                if not part:
                    break
                parts.append(part)
                missing -= len(part)
        data = b"".join(parts)
        self._given += len(data)
        self._on_read(self.file.tell())
        return data

    def _salvage(self, pending: int) -> None:
        """pyarrow drops what it had of the piece in which the file ends: go there again, byte by
        byte."""
        self.file = self._path.open("rb")  # pyarrow closes the old one
        self._source = _open(self.compression, self.file)
        left = self._given + pending
        while left:
            left -= len(self._source.read(min(left, CHUNK)))
        self._salvaging = True

    def _decoder(self, other: str) -> tuple[Callable[[bytes], bytes], str]:
        """From the file's encoding to UTF-8. A file without a mark whose every other byte is zero
        is UTF-16 too."""
        head = self.head[:4]
        encoding = next((name for mark, name in _MARKS if head.startswith(mark)), "")
        if encoding:
            mark = next(mark for mark, name in _MARKS if name == encoding)
            self._first = self.head[len(mark) :]
        elif len(head) >= 2 and head[0] and head[1] == 0:
            encoding = "utf-16-le"
        elif len(head) >= 2 and head[0] == 0 and head[1]:
            encoding = "utf-16-be"
        elif other and not encodings.is_utf8(self.head):
            encoding = other
        if encoding in ("", "utf-8"):
            return (lambda data: data), "utf-8"
        incremental = codecs.getincrementaldecoder(encoding)("strict")
        return (lambda data: self._recode(incremental, data, encoding)), encoding

    def _recode(self, incremental: codecs.IncrementalDecoder, data: bytes, encoding: str) -> bytes:
        pending = len(incremental.getstate()[0])
        try:
            return incremental.decode(data, final=not data).encode()
        except UnicodeDecodeError as error:
            offset = self._given - len(data) - pending + error.start
            self.failure = (
                self.failure or f"invalid {encoding.upper()} at byte {offset} ({error.reason})"
            )
            return error.object[: error.start].decode(encoding).encode()


def _open(compression: str | None, file: io.BufferedReader) -> io.BufferedIOBase:
    if compression == "gzip":
        return gzip.GzipFile(fileobj=file)
    if compression == "zstd":
        import pyarrow as pa  # type: ignore[import-untyped]

        return pa.CompressedInputStream(pa.PythonFile(file, mode="r"), "zstd")  # type: ignore[no-any-return]
    return file


def lines(reader: Reader) -> Iterator[Line]:
    """The text's lines, blank ones too. A line that is too long is told, not held."""
    parts: list[bytes] = []
    start = size = 0
    while chunk := reader.read():
        first, *further = chunk.split(b"\n")
        for part, is_end in [
            (first, bool(further)),
            *((line, True) for line in further[:-1]),
            *((line, False) for line in further[-1:]),
        ]:
            size += len(part)
            if size <= LONGEST_ROW:
                parts.append(part)
            else:
                parts.clear()
            if is_end:
                yield Line(b"".join(parts) if size <= LONGEST_ROW else None, start, size)
                parts.clear()
                start, size = start + size + 1, 0
    if size:
        yield Line(
            b"".join(parts) if size <= LONGEST_ROW else None,
            start,
            size,
            reader.failure is not None,
        )
