"""Rows from tables: CSV, TSV and Parquet."""

from __future__ import annotations

import csv
import json
import tempfile
from collections.abc import Callable, Iterator
from typing import IO, Any

from trainer.data.streams import LONGEST_ROW, TOO_LONG, Piece, Reader, lines

_BATCH = 64


class _CsvLines:
    """The text's lines for `csv`, and what its rows cannot say: the bytes they take and the first
    thing wrong in them."""

    def __init__(self, reader: Reader) -> None:
        self._lines = lines(reader)
        self.size = 0
        self.problem: str | None = None
        self.ended = False

    def __iter__(self) -> _CsvLines:
        return self

    def __next__(self) -> str:
        line = next(self._lines, None)
        if line is None:
            self.ended = True
            raise StopIteration
        self.size += line.size + 1
        if line.data is None:
            self.problem = self.problem or TOO_LONG
            return "\n"
        if line.is_cut:
            self.problem = self.problem or "the file ends in the middle of a row"
        try:
            return line.data.decode() + "\n"
        except UnicodeDecodeError as error:
            self.problem = (
                self.problem or f"invalid UTF-8 at byte {line.start + error.start} ({error.reason})"
            )
            return line.data.decode(errors="replace") + "\n"


def csv_rows(reader: Reader, *, tabs: bool) -> Iterator[Piece]:
    """The rows of a table whose first line names its columns; commas or semicolons between them, or
    tabs."""
    csv.field_size_limit(LONGEST_ROW)
    first = reader.head.decode(reader.encoding, errors="replace").partition("\n")[0]
    delimiter = ";" if first.count(";") > first.count(",") else ","
    if tabs or ("\t" in first and "," not in first):
        delimiter = "\t"
    text = _CsvLines(reader)
    rows = csv.reader(text, delimiter=delimiter, strict=True)
    columns: list[str] = []
    while True:
        try:
            fields = next(rows, None)
        except csv.Error as error:
            fields, text.problem = (
                [],
                text.problem or _csv_problem(error, reader, at_end=text.ended),
            )
        if fields is None:
            break
        size, problem = text.size, text.problem
        text.size, text.problem = 0, None
        if not columns and fields and problem is None:
            columns = [
                name.strip() or f"column {number}" for number, name in enumerate(fields, start=1)
            ]
            repeated = next((name for name in columns if columns.count(name) > 1), None)
            if repeated is not None:
                unread = sum(len(line) for line in text)
                yield Piece(
                    None, f"two columns are named `{repeated}`: no row can be read", size + unread
                )
                return
        elif problem is not None:
            yield Piece(None, problem, size)
        elif fields and len(fields) != len(columns):
            yield Piece(
                None,
                f"it has {len(fields)} fields where the first line names {len(columns)} columns",
                size,
            )
        elif fields:
            yield Piece(dict(zip(columns, fields, strict=True)), None, size)
    if reader.failure is not None:
        yield Piece(None, f"here {reader.failure}; the rest is lost", 0)


def _csv_problem(error: csv.Error, reader: Reader, *, at_end: bool) -> str:
    if at_end:
        return reader.failure or "the file ends inside a quoted field"
    if "field larger" in str(error):
        return TOO_LONG
    return f"broken CSV ({error})"


def parquet_rows(reader: Reader, on_read: Callable[[int], None]) -> Iterator[Piece]:
    """The rows of a Parquet file. One that is compressed as a whole is unpacked first: its index
    stands at its end."""
    if reader.compression is None:
        yield from _parquet(reader.file, reader.file.seek(0, 2), on_read)
        return
    with tempfile.TemporaryFile() as unpacked:
        while chunk := reader.raw():
            unpacked.write(chunk)
        if reader.failure is not None:
            yield Piece(
                None,
                f"{reader.failure}, and a Parquet file has its index at the end",
                unpacked.tell(),
            )
            return
        unpacked.seek(0)
        yield from _parquet(unpacked, 0, on_read)


def _parquet(file: IO[bytes], size: int, on_read: Callable[[int], None]) -> Iterator[Piece]:
    """`size` is what the whole file counts for progress, which goes by rows; 0 if it was counted
    before."""
    import pyarrow as pa  # type: ignore[import-untyped]
    import pyarrow.parquet as pq  # type: ignore[import-untyped]

    done = 0
    try:
        # Its defaults read a whole row group at once, and most files are one.
        table = pq.ParquetFile(file, buffer_size=1 << 20, pre_buffer=False)
        total = table.metadata.num_rows
        for batch in table.iter_batches(batch_size=_BATCH, use_threads=False):
            for index in range(batch.num_rows):
                yield _parquet_row(batch.slice(index, 1))
                done += 1
            if size:
                on_read(size * done // total)
    except (pa.ArrowException, OSError, ValueError) as error:
        end = file.seek(0, 2)
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        where = "no row of it" if not done else f"nothing after its row {done - 1}"
        yield Piece(None, f"broken or cut-off Parquet: {where} can be read ({reason})", end)


def _parquet_row(batch: Any) -> Piece:
    try:
        return plain(batch.to_pylist()[0])
    except UnicodeDecodeError as error:
        return Piece(None, f"invalid UTF-8 in one of its texts ({error.reason})", batch.nbytes)


def plain(row: dict[str, Any]) -> Piece:
    """A row as JSON has it: what is null inside a struct is absent (a struct has every key in every
    row), and NaN is null."""
    text = json.dumps(row, default=str, ensure_ascii=False)
    inner = json.loads(text, object_hook=_without_nulls, parse_constant=lambda _: None)
    return Piece({name: inner.get(name) for name in row}, None, len(text.encode()))


def _without_nulls(value: dict[str, Any]) -> dict[str, Any]:
    return {key: item for key, item in value.items() if item is not None}
