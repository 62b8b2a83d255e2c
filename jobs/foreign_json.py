"""The one reader of JSON that another process, another person or a model may have written.

Whatever is wrong with it (no UTF-8, no JSON, nested too deeply, a value of another type, a number
without an end) is one error, `Damaged`, which names the file and says why. `models.foreign` reads
msgspec's types in the same way. `tools/decoding.py` keeps all other code from decoding.
"""

from __future__ import annotations

import json
import math
import os
import stat
import types
from collections.abc import Hashable, Mapping
from dataclasses import fields
from functools import cache
from pathlib import Path
from typing import (
    Any,
    Literal,
    NoReturn,
    TypeVar,
    Union,
    cast,
    get_args,
    get_origin,
    get_type_hints,
)

from jobs.luthier_error import LuthierError

T = TypeVar("T")

TOO_DEEP = "it is nested too deeply"
_LARGEST_INTEGER = 1 << 63
_NAMES = {
    dict: "an object",
    list: "a list",
    str: "text",
    bool: "true or false",
    int: "an integer",
    float: "a number",
    type(None): "null",
}


class Damaged(LuthierError, ValueError):
    """What was read cannot be used. `reason` says why, `where` what it is: a path, or words."""

    def __init__(self, where: object, reason: str, hint: str = "") -> None:
        super().__init__("Damaged", f"{where}: {reason}.", hint)
        self.where, self.reason = where, reason


def decode(data: bytes | str, where: object, *, lenient: bool = False) -> Any:
    """The value. Damaged for NaN, Infinity, 1e400 and a name that an object has twice, too;
    `lenient` takes these as Python's own reader does: other libraries write them into the files of
    models."""
    try:
        encoding = "utf-8-sig" if lenient else "utf-8"
        text = data if isinstance(data, str) else data.decode(encoding)
        return json.loads(text) if lenient else _STRICT.decode(text)
    except UnicodeDecodeError as error:
        raise Damaged(where, f"it is not UTF-8 (byte {error.start})") from None
    except RecursionError:
        raise Damaged(where, TOO_DEEP) from None
    except json.JSONDecodeError as error:
        raise Damaged(
            where, f"it is not JSON ({error.msg} in line {error.lineno}, column {error.colno})"
        ) from None
    except ValueError as error:
        raise Damaged(where, f"it is not JSON ({error})") from None


def decode_object(data: bytes | str, where: object, *, lenient: bool = False) -> dict[str, Any]:
    value = decode(data, where, lenient=lenient)
    if not isinstance(value, dict):
        raise Damaged(where, f"it is {type_name(value)}, not an object")
    return value


def read_bytes(path: Path) -> bytes:
    """The contents of a file. FileNotFoundError where there is none; Damaged for what is no file,
    or may not be read."""
    try:
        # a pipe would be waited for
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        with os.fdopen(descriptor, "rb") as file:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise Damaged(path, "it is not a file")
            return file.read()
    except (FileNotFoundError, NotADirectoryError) as error:
        raise FileNotFoundError(error.errno, error.strerror, str(path)) from None
    except OSError as error:
        raise Damaged(path, f"it cannot be read ({error.strerror})") from error


def read(path: Path, *, lenient: bool = False) -> Any:
    return decode(read_bytes(path), path, lenient=lenient)


def read_object(path: Path, *, lenient: bool = False) -> dict[str, Any]:
    return decode_object(read_bytes(path), path, lenient=lenient)


def read_as(path: Path, kind: type[T]) -> T:
    """A file as an instance of a dataclass."""
    return as_type(read(path), kind, path)


def as_type(value: Any, kind: type[T], where: object) -> T:
    """An object as an instance of a dataclass, each of whose fields has the type that it declares.
    Damaged otherwise."""
    if not isinstance(value, dict):
        raise Damaged(where, f"it is {type_name(value)}, not an object")
    hints: dict[str, Any] = _hints(cast(Hashable, kind))
    unknown = next((name for name in value if name not in hints), None)
    if unknown is not None:
        raise Damaged(where, f"{unknown!r} is not a known key")
    check(value, hints, where)
    try:
        return kind(**value)
    except TypeError:  # a field without a default
        missing = ", ".join(name for name in hints if name not in value)
        raise Damaged(where, f"it lacks {missing}") from None


def check(values: Mapping[str, Any], types_by_name: Mapping[str, Any], where: object) -> None:
    """Damaged if one of the values has another type than its name stands for. What is not there is
    not asked for."""
    for name, kind in types_by_name.items():
        if name in values and not fits(values[name], kind):
            raise Damaged(where, f"{name} is {type_name(values[name])}, not {_kind_name(kind)}")


def fits(value: Any, kind: Any) -> bool:
    """Whether a value out of JSON has this type: str, int, float (an integer, too), bool, Any,
    Literal, list, dict, a union, or of an object the types of some names."""
    if kind is float:  # the plain kinds first: each line of each log of events comes here
        return (type(value) is float and math.isfinite(value)) or fits(value, int)
    if kind is int:
        return type(value) is int and abs(value) < _LARGEST_INTEGER
    if kind is Any:  # before the next question: it is a class
        return True
    if isinstance(kind, type):
        return isinstance(value, kind)
    origin, inner = get_origin(kind), get_args(kind)
    if isinstance(kind, Mapping):
        return isinstance(value, dict) and all(
            fits(value[name], inside) for name, inside in kind.items() if name in value
        )
    if origin in (Union, types.UnionType):
        return any(fits(value, alternative) for alternative in inner)
    if origin is Literal:
        return isinstance(value, str) and value in inner
    if origin is list:
        return isinstance(value, list) and all(fits(item, inner[0]) for item in value)
    if origin is dict:
        return isinstance(value, dict) and all(fits(item, inner[1]) for item in value.values())
    raise TypeError(f"a value out of JSON cannot have the type {kind}")


def type_name(value: Any) -> str:
    """What a value out of JSON is, for a sentence."""
    if isinstance(value, float) and not math.isfinite(value):
        return "a number that is not finite"
    if type(value) is int and abs(value) >= _LARGEST_INTEGER:
        return "a number that is too large"
    return _NAMES.get(type(value), type(value).__name__)


def _kind_name(kind: Any) -> str:
    origin, inner = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        return " or ".join(_kind_name(alternative) for alternative in inner)
    if isinstance(kind, Mapping):
        return "an object with values of other types"
    if origin is Literal:
        return "one of " + ", ".join(map(repr, inner))
    if origin is list:
        return (
            f"a list of {_kind_name(inner[0]).removeprefix('an ').removeprefix('a ')}s"
            if inner[0] is not Any
            else "a list"
        )
    return _NAMES.get(origin or kind, "an object")


@cache
def _hints(kind: Any) -> dict[str, Any]:
    hints = get_type_hints(kind)
    return {field.name: hints[field.name] for field in fields(kind)}


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not a number")


def _finite(digits: str) -> float:
    value = float(digits)
    if not math.isfinite(value):
        raise ValueError(f"the number {digits[:20]} is too large")
    return value


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"{next(name for name in names if names.count(name) > 1)!r} appears twice")
    return values


_STRICT = json.JSONDecoder(parse_constant=_refuse, parse_float=_finite, object_pairs_hook=_once)
"""Made once: `json.loads` with options makes a decoder for each text."""
