"""What a path that somebody has named may be."""

from __future__ import annotations

from pathlib import Path

import pytest

from jobs.files import why_missing, why_no_file

LONG = "x" * 300


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("rows.jsonl", ""),
        ("none.jsonl", "no such file or folder"),
        ("rows.jsonl/inside", "no such file or folder"),
        ("a\0b", "no such file or folder"),
        ("\udfff", "no such file or folder"),
        (LONG, "file name too long"),
        (f"{LONG}/rows.jsonl", "file name too long"),
        ("ring", "too many levels of symbolic links"),
    ],
)
def test_a_path_that_cannot_be_looked_up_is_missing_for_a_reason(
    tmp_path: Path, name: str, reason: str
) -> None:
    (tmp_path / "rows.jsonl").touch()
    (tmp_path / "ring").symlink_to("ring")
    assert why_missing(tmp_path / name) == reason
    assert why_no_file(tmp_path / name) == reason.replace(" or folder", "")


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    assert (why_missing(tmp_path), why_no_file(tmp_path)) == ("", "not a file")
