"""What becomes of an error that nobody has put into words: the system's refusals are, others have
their details in a file."""

from __future__ import annotations

import traceback

from jobs.home import home
from jobs.luthier_error import LuthierError
from jobs.os_errors import in_words, unencodable


def readable(error: BaseException) -> LuthierError:
    """An error as one that can be read. The traceback of an unexpected one goes to the home's
    crash.log."""
    if isinstance(error, UnicodeEncodeError):
        return unencodable(error)
    if isinstance(error, OSError):
        return in_words(error)
    path = home() / "crash.log"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch(mode=0o600)  # an error may quote what it was about
        with path.open("a", encoding="utf-8") as file:
            file.writelines(traceback.format_exception(error))
        hint = f"The details are in {path}."
    except OSError as refused:
        hint = f"The details could not be written to {path}: {refused.strerror}."
    return LuthierError(
        f"Unexpected {type(error).__name__}", str(error) or "It says nothing more.", hint
    )
