"""The user's settings, `config.toml` in Luthier's home."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from jobs.files import write_atomic
from jobs.home import home


def read() -> dict[str, Any]:
    """Empty without a file. A damaged one never keeps the app from starting."""
    if not _path().is_file():
        return {}
    import tomllib

    try:
        return tomllib.loads(_path().read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}


def save(key: str, value: str | bool) -> None:
    """Remember one setting; whatever else stands in the file, comments included, is kept. OSError
    or ValueError if that cannot be."""
    import tomlkit

    path = _path()
    document = (
        tomlkit.parse(path.read_text(encoding="utf-8")) if path.is_file() else tomlkit.document()
    )
    document[key] = value
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, tomlkit.dumps(document))


def _path() -> Path:
    return home() / "config.toml"
