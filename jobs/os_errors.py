"""What the system refuses, in words: which path, what could not be done, what helps."""

from __future__ import annotations

import errno
import os
from pathlib import Path

from jobs.home import home
from jobs.luthier_error import LuthierError

_FULL = (errno.ENOSPC, errno.EDQUOT)
_FREE_SPACE = (
    "Free some space (`luthier runs` shows what there is, `luthier remove ID` deletes a run) and"
    " start it again."
)
_EDGES = '"\n'  # what stands around a name in a text that holds more
_OTHERWISE = "Look at its permissions and at those of its folder, or name another place."
_ANOTHER_HOME = "Set LUTHIER_HOME to a folder on a local disk that you can write to."

_TITLES = {
    errno.EACCES: ("Not allowed", "its permissions do not allow that"),
    errno.EPERM: ("Not allowed", "the system does not allow that"),
    errno.EROFS: ("Read-only", "it lies on a file system that cannot be written to"),
    errno.ENOENT: ("Not there", "there is no such file or folder"),
    errno.ENOTDIR: ("A file is in the way", "a file stands where a folder should be"),
    errno.EEXIST: ("Something is in the way", "something of that name is there already"),
    errno.EISDIR: ("A folder is in the way", "a folder stands where a file should be"),
    errno.ENOTEMPTY: ("A folder is in the way", "the folder is not empty"),
    errno.EFBIG: (
        "The file may not grow",
        "the file is as large as this system or `ulimit -f` allows",
    ),
    errno.EMFILE: ("Too many open files", "this process may not open any more (`ulimit -n`)"),
    errno.ENAMETOOLONG: ("The name is too long", "the system allows no name of that length"),
    errno.ELOOP: ("A link leads to itself", "its links lead in a circle"),
    errno.EIO: ("The disk fails", "the disk could not do it"),
    errno.ESTALE: ("The disk is gone", "the network's disk does not know it any more"),
}


def in_words(error: OSError) -> LuthierError:
    """The error as one that can be read: about the file that the system names, else about what was
    written to last."""
    file_name = os.fsdecode(error.filename) if isinstance(error.filename, str | bytes) else ""
    if error.errno in _FULL:
        return disk_full(file_name)
    reason = error.strerror or str(error) or "it says nothing more"
    title, why = _TITLES.get(
        error.errno or 0, ("The system refuses", f"{reason[:1].lower()}{reason[1:].rstrip('.')}")
    )
    if not file_name:
        return LuthierError(title, f"{why[:1].upper()}{why[1:]}.", _OTHERWISE)
    path = Path(file_name)
    if not _in_home(path):
        return LuthierError(title, f"{path}: {why}.", _OTHERWISE)
    verb = (
        "read"
        if error.errno == errno.EACCES and path.exists() and not os.access(path, os.R_OK)
        else "written"
    )
    verb = "used" if error.errno in (errno.ENOTDIR, errno.EEXIST) else verb
    return LuthierError(
        "Luthier's home cannot be used", f"{path} cannot be {verb}: {why}.", _ANOTHER_HOME
    )


def disk_full(file_name: str) -> LuthierError:
    """`file_name` may be empty."""
    return LuthierError(
        "The disk is full",
        f"Writing{f' {file_name}' if file_name else ''} failed: no space is left on the device.",
        _FREE_SPACE,
    )


def _in_home(path: Path) -> bool:
    """Whether it is the home, or lies in it, or is what stands in the home's way."""
    return path == home() or home() in path.parents or path in home().parents


def unencodable(error: UnicodeEncodeError) -> LuthierError:
    """A name of bytes that are no UTF-8 (Python keeps them as lone surrogates), where only text can
    stand."""
    text = error.object
    start = max(text.rfind(mark, 0, error.start) for mark in _EDGES) + 1
    end = min(
        (edge for mark in _EDGES if (edge := text.find(mark, error.end)) >= 0), default=len(text)
    )
    name = (
        text[start:end]
        .encode("utf-8", errors="surrogateescape")
        .decode("utf-8", errors="backslashreplace")
    )
    return LuthierError(
        "The name is not UTF-8",
        f"{name} has bytes that are no text.",
        "Rename the file or the folder.",
    )
