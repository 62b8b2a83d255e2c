"""Why a job failed, in words: from the exception that ended its worker's `main`, or, where the
worker wrote no error, from how its process ended."""

from __future__ import annotations

import errno
import os
import re
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from jobs import os_errors
from jobs.event_kinds import Error
from jobs.luthier_error import LuthierError

MISSING_MODULE = re.compile(r"ModuleNotFoundError: No module named '([\w.]+)'")


def of_exception(error: Exception, directory: Path) -> LuthierError:
    """The reason for an exception that nobody has put into words yet. `directory` is the job's."""
    if isinstance(error, UnicodeEncodeError):
        return os_errors.unencodable(error)
    if isinstance(error, ModuleNotFoundError) and error.name:
        return _not_installed(error.name)
    full = _disk_full(error, directory)
    if full is None and isinstance(error, OSError) and error.errno is not None:
        return os_errors.in_words(error)
    return full or LuthierError(
        f"Unexpected {type(error).__name__}",
        str(error) or "No further details.",
        "The log has the details.",
    )


def of_exit(code: int, error: Error | None, log_tail: Sequence[str]) -> LuthierError:
    """The reason that the worker wrote, else its exit status (negative: the signal that killed it)
    with the end of its log."""
    if error is not None:
        return LuthierError(error.title, error.message, error.hint or "")
    module = MISSING_MODULE.fullmatch(log_tail[-1].strip()) if log_tail else None
    if module is not None:
        return _not_installed(module[1])
    if code < 0:
        title = f"Killed by {_signal_name(-code)}"
    else:
        title = f"Exit status {code}" if code else "Ended without a result"
    return LuthierError(title, "\n".join(log_tail) or "It wrote no log.", "The log may say more.")


def _not_installed(module: str) -> LuthierError:
    return LuthierError(
        f"{module.partition('.')[0]} is not installed",
        f"{sys.executable} has no module {module}.",
        "`luthier doctor --fix` says which command installs it.",
    )


def _disk_full(error: Exception, directory: Path) -> LuthierError | None:
    """The error in words if a full disk is behind it; safetensors and others wrap the system's
    error in one of their own."""
    if os.strerror(errno.ENOSPC) not in str(error):
        return None
    path = (error.filename if isinstance(error, OSError) else None) or directory
    return os_errors.disk_full(str(path))


def _signal_name(number: int) -> str:
    return signal.Signals(number).name if number in set(signal.Signals) else f"signal {number}"
