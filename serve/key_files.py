"""The two API keys of this home: made once, kept in files that only their owner reads, the same for
every server."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from jobs.home import home
from jobs.luthier_error import LuthierError

_SHORTEST = 16


def client_key() -> str:
    """Opens what a client needs: chat, completions, the list of models, health and metrics."""
    return _key("client")


def control_key() -> str:
    """Opens every route, also those that load adapters."""
    return _key("control")


def _key(name: str) -> str:
    path = home() / "keys" / name
    if not path.exists():
        _make(path)
    if path.stat().st_mode & 0o077:
        path.chmod(0o600)
    key = path.read_text(encoding="ascii", errors="replace").strip()
    if len(key) < _SHORTEST or not key.isascii() or not key.isprintable() or " " in key:
        hint = "Delete that file, so that Luthier makes a new key. Then restart the servers."
        raise LuthierError("Unusable API key", f"{path} does not contain a key.", hint)
    return key


def _make(path: Path) -> None:
    """Write a new key under another name, then link it: of two processes at once, one wins and both
    read the same key."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    path.parent.chmod(0o700)
    temporary = path.with_name(f".{path.name}-{secrets.token_hex(8)}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(secrets.token_urlsafe(32) + "\n")
            file.flush()
            os.fsync(file.fileno())
        try:
            path.hardlink_to(temporary)
        except FileExistsError:
            return
    finally:
        temporary.unlink()
