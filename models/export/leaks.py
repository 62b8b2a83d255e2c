"""What must be known before a model is given to everybody: whether it recites its training data."""

from __future__ import annotations

from pathlib import Path

from jobs.luthier_error import LuthierError
from models import chapters


def warning(run_directory: Path) -> str:
    """In a sentence or two; "" where it was measured and is not red."""
    measure = f"`luthier recites {run_directory.name}` measures it."
    try:
        chapter = chapters.read(run_directory, "recites")
    except LuthierError as error:
        return f"{error.message} {measure}"
    if chapter is None:
        return f"Whether this model recites its training data was never measured. {measure}"
    if chapter.outdated:
        return f"The model has changed since its recital was measured. {measure}"
    if chapter.verdict == "red":
        return f"This model recites training data: {chapter.summary}"
    return ""
