"""What the system refuses, in words: which path, what could not be done, what helps."""

from __future__ import annotations

import errno
import os
from pathlib import Path

from jobs.home import home
from jobs.luthier_error import LuthierError
from jobs.near import did_you_mean_file

_FULL = (errno.ENOSPC, errno.EDQUOT)
_FREE_SPACE = (
    "Free some space (`luthier runs` lists the runs, `luthier remove ID` deletes one) and start"
    " it again."
)
_EDGES = '"\n'  # what stands around a name in a text that holds more
_OTHERWISE = "Check its permissions and those of its folder, or choose another location."
_ANOTHER_HOME = "Set LUTHIER_HOME to a folder on a local disk that you can write to."

_TITLES = {
    errno.EACCES: ("Not allowed", "its permissions do not allow that"),
    errno.EPERM: ("Not allowed", "the system does not allow that"),
    errno.EROFS: ("Read-only", "it is on a read-only file system"),
    errno.ENOENT: ("Not found", "there is no such file or folder"),
    errno.ENOTDIR: ("A file is in the way", "there is a file where a folder should be"),
    errno.EEXIST: ("Something is in the way", "something with that name already exists"),
    errno.EISDIR: ("A folder is in the way", "there is a folder where a file should be"),
    errno.ENOTEMPTY: ("A folder is in the way", "the folder is not empty"),
    errno.EFBIG: (
        "The file has reached its size limit",
        "it is as large as the file system or `ulimit -f` allows",
    ),
    errno.EMFILE: (
        "Too many open files",
        ("this process has reached its limit of open files (`ulimit -n`)"),
    ),
    errno.ENAMETOOLONG: ("The name is too long", "the system does not allow names of that length"),
    errno.ELOOP: ("A link points to itself", "its links point to each other in a circle"),
    errno.EIO: ("The disk failed", "the disk reported an error"),
    errno.ESTALE: ("The network disk is gone", "the file server no longer knows this file"),
}


def in_words(error: OSError) -> LuthierError:
    """The error as one that can be read: about the file that the system names, else about what was
    written to last."""
    file_name = os.fsdecode(error.filename) if isinstance(error.filename, str | bytes) else ""
    if error.errno in _FULL:
        return disk_full(file_name)
    reason = error.strerror or str(error) or "no further details"
    title, why = _TITLES.get(
        error.errno or 0, ("The system refused", f"{reason[:1].lower()}{reason[1:].rstrip('.')}")
    )
    if not file_name:
        return LuthierError(title, f"{why[:1].upper()}{why[1:]}.", _OTHERWISE)
    path = Path(file_name)
    if not _in_home(path):
        meant = did_you_mean_file(path) if error.errno == errno.ENOENT else ""
        return LuthierError(title, f"{path}: {why}.", f"{meant}{_OTHERWISE}")
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
        f"{name} contains bytes that are not UTF-8.",
        "Rename the file or the folder.",
    )
