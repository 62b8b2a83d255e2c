"""Where Luthier keeps its things."""

from __future__ import annotations

import os
import sys
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
