"""Foreign JSON as msgspec's types: what `jobs.foreign_json` is for plain values."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Generic, TypeVar

import msgspec

from jobs.foreign_json import TOO_DEEP, Damaged, read_bytes
from jobs.job import Job

T = TypeVar("T")


class Decoder(Generic[T]):
    """Reads many texts as one type."""

    def __init__(self, kind: type[T]) -> None:
        self._decoder = msgspec.json.Decoder(kind, dec_hook=_path)

    def decode(self, data: bytes | str, where: object) -> T:
        try:
            return self._decoder.decode(data)
        except (RecursionError, ValueError) as error:  # msgspec's own errors are ValueErrors
            raise Damaged(where, _reason(error)) from None

    def lines(self, path: Path) -> Iterator[T]:
        """Every line of a file."""
        with path.open("rb") as file:
            for number, line in enumerate(file, start=1):
                yield self.decode(line, f"{path}, line {number}")

    def many(self, lines: bytes) -> list[T]:
        """Lines that are decoded together, which is quicker. Damaged if one of them is."""
        try:
            return self._decoder.decode_lines(lines)
        except (RecursionError, ValueError) as error:
            raise Damaged("a line", _reason(error)) from None


def decode(data: bytes | str, kind: type[T], where: object) -> T:
    return Decoder(kind).decode(data, where)


def read(path: Path, kind: type[T]) -> T:
    """FileNotFoundError where there is no file."""
    return decode(read_bytes(path), kind, path)


def convert(value: Any, kind: type[T], where: object) -> T:
    """A value that was decoded already, or a row of a database."""
    try:
        return msgspec.convert(value, kind, dec_hook=_path)
    except (RecursionError, ValueError) as error:
        raise Damaged(where, _reason(error)) from None


def settings_of(job: Job, kind: type[T]) -> T:
    """What a job was asked to do."""
    return convert(dict(job.spec.settings), kind, f"the settings of {job.id}")


def _path(kind: type[Any], value: Any) -> Any:
    """JSON has paths as texts."""
    if kind is Path and isinstance(value, str):
        return Path(value)
    raise ValueError(f"expected {kind.__name__}")


def _reason(error: Exception) -> str:
    if isinstance(error, RecursionError):
        return TOO_DEEP
    if isinstance(error, UnicodeDecodeError):
        return "it is not UTF-8"
    text = str(error)
    return f"it does not have the expected form ({text[:1].lower()}{text[1:]})"
