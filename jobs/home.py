"""Where Luthier keeps its things."""

from __future__ import annotations

import os
import stat
import sys
from contextlib import suppress
from pathlib import Path

from jobs.files import expanded


def home() -> Path:
    """`$LUTHIER_HOME`, else the platform's user data directory."""
    override = os.environ.get("LUTHIER_HOME")
    if override:
        return expanded(override).absolute()
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Application Support" / "luthier"
    return Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share") / "luthier"


def jobs_directory() -> Path:
    return home() / "jobs"


def models_directory() -> Path:
    return home() / "models"


def private_folder(folder: Path) -> int:
    """Make a folder for its owner alone, and say whom it is open to (its mode).

    One that an earlier version left open is closed once, and marked. Whoever opens it again meant
    to, and is not overruled.
    """
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    mark = folder.with_name(f".{folder.name}-private")
    if not mark.exists():
        with suppress(PermissionError):  # another user's, who shares it
            folder.chmod(0o700)
            mark.touch()
    return stat.S_IMODE(folder.stat().st_mode)
