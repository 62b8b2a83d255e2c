"""What becomes of an error that nobody foresaw: a file with the details, and words for a person."""

from __future__ import annotations

import traceback

from jobs.errors import LuthierError
from jobs.home import home


def readable(error: BaseException) -> LuthierError:
    """An unexpected error as one that can be read. Its traceback goes to the home's crash.log."""
    path = home() / "crash.log"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch(mode=0o600)  # an error may quote what it was about
        with path.open("a", encoding="utf-8") as file:
            file.writelines(traceback.format_exception(error))
        hint = f"The details are in {path}."
    except OSError as refused:
        hint = f"The details could not be written to {path}: {refused.strerror}."
    return LuthierError(f"Unexpected {type(error).__name__}", str(error) or "It says nothing more.", hint)
