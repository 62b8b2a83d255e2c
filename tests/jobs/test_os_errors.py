"""The system's refusals in words: the path, what could not be done, what helps."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from jobs import files
from jobs.events import EventLog
from jobs.failure_reason import of_exception
from jobs.os_errors import in_words, unencodable


@pytest.mark.parametrize("number", sorted(errno.errorcode))
def test_every_number_has_words(number: int, home: Path) -> None:
    for path in (None, "/elsewhere/x", str(home / "x"), os.fsencode(home / "x")):
        error = in_words(OSError(number, os.strerror(number), path))
        assert (
            error.title and error.message.endswith(".") and error.hint and "Errno" not in str(error)
        )
        assert path is None or "/x" in error.message


def test_the_home_says_what_doctor_says(home: Path) -> None:
    error = in_words(FileNotFoundError(errno.ENOENT, "No such file or directory", str(home)))
    assert f"{home} cannot be written" in error.message and "LUTHIER_HOME" in error.hint


def test_a_write_that_fails_names_its_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*arguments: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    log = EventLog(tmp_path / "events.jsonl")
    monkeypatch.setattr(os, "write", full)
    with pytest.raises(OSError, match="No space left") as caught:
        log.append("step", step=1)
    assert str(tmp_path / "events.jsonl") in in_words(caught.value).message
    log.close()
    with pytest.raises(OSError, match="No such file") as missing:
        files.write_json(tmp_path / "none" / "x.json", {})
    assert str(tmp_path / "none" / "x.json") in in_words(missing.value).message


def test_workers_say_the_same(tmp_path: Path) -> None:
    refused = PermissionError(errno.EACCES, "Permission denied", "/elsewhere/x")
    assert str(of_exception(refused, tmp_path)) == str(in_words(refused))
    # a library's own, not the system's
    assert of_exception(OSError("the hub says no"), tmp_path).title == "Unexpected OSError"


def test_a_name_that_is_no_text_is_shown_alone() -> None:
    text = f'model = "x"\ndata = ["{os.fsdecode(bytes([0x61, 0xE9]))}.jsonl"]\n'
    with pytest.raises(UnicodeEncodeError) as caught:
        text.encode()
    assert unencodable(caught.value).message == r"a\xe9.jsonl contains bytes that are not UTF-8."
