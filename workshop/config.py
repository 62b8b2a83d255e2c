"""The user's settings, `config.toml` in Luthier's home."""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping
from pathlib import Path
from typing import Any

from jobs.files import write_atomic
from jobs.home import home

Value = str | bool | None
"""What a setting can be; None is none of its own."""


def read() -> dict[str, Any]:
    """Empty without a file. A damaged one never keeps the app from starting."""
    if not _path().is_file():
        return {}
    import tomllib

    try:
        return tomllib.loads(_path().read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}


def damage() -> str:
    """Why the file cannot be read; "" if it can, or is not there."""
    import tomllib

    try:
        tomllib.loads(_path().read_text(encoding="utf-8"))
    except FileNotFoundError:
        return ""
    except (OSError, ValueError, RecursionError) as error:
        return str(error)
    return ""


def save(key: str, value: str | bool) -> None:
    """Remember one setting; whatever else stands in the file, comments included, is kept. OSError
    or ValueError if that cannot be."""
    save_all({key: value})


def save_all(values: Mapping[str, Value]) -> None:
    """Remember several settings as `save` does. A name with a dot is one in a table; None takes a
    setting away, so that its default holds."""
    import tomlkit

    path = _path()
    document = (
        tomlkit.parse(path.read_text(encoding="utf-8")) if path.is_file() else tomlkit.document()
    )
    for name, value in values.items():
        table_name, _, key = name.rpartition(".")
        table: Any = document
        if table_name:
            table = document.setdefault(table_name, tomlkit.table())
        if not isinstance(table, MutableMapping):
            # the file is wrong, not a caller's type
            raise ValueError(f"{table_name} is not a table in {path}")  # noqa: TRY004
        if value is None:
            table.pop(key, None)
        else:
            table[key] = value
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, tomlkit.dumps(document))


def _path() -> Path:
    return home() / "config.toml"
