"""The certificate's further chapters: written, read, ordered, outdated, damaged."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from jobs.luthier_error import LuthierError
from models import certificate, chapters
from models.certificate import Check, Verdict
from models.chapters import Chapter, ChapterKind


def make(kind: ChapterKind, subject: str = "", made: float = 1.0, *verdicts: Verdict) -> Chapter:
    checks = [Check(f"check {verdict}", verdict, f"It is {verdict}.") for verdict in verdicts]
    return Chapter(kind, subject, "All is well.", made, 2.0, "job-1", checks)


def test_each_kind_and_subject_has_one_and_the_newest_comes_first(tmp_path: Path) -> None:
    for chapter in (
        make("guard"),
        make("shipped", "/a/b.gguf", 1.0),
        make("shipped", "/a-b.gguf", 3.0),
        make("guard", made=2.0),
    ):
        chapters.write(tmp_path, chapter)
    assert [(chapter.kind, chapter.made) for chapter in chapters.read_all(tmp_path)] == [
        ("shipped", 3.0),
        ("shipped", 1.0),
        ("guard", 2.0),
    ]
    assert chapters.read(tmp_path, "shipped", "/a/b.gguf") == make("shipped", "/a/b.gguf", 1.0)
    assert chapters.read(tmp_path, "recites") is None
    assert chapters.read_all(tmp_path / "none") == []


def test_the_worst_check_is_its_verdict_and_comes_first(tmp_path: Path) -> None:
    mixed = make("guard", "", 1.0, "green", "amber", "red")
    assert mixed.verdict == "red"
    assert [check.verdict for check in chapters.faults([mixed])] == ["red", "amber"]
    assert make("guard").verdict == "green"


def test_it_is_outdated_once_a_file_it_speaks_of_is_written(tmp_path: Path) -> None:
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(b"1")
    chapter = dataclasses.replace(make("shipped"), files=certificate.stamps(tmp_path))
    assert not chapter.outdated
    weights.write_bytes(b"22")
    assert chapter.outdated


def test_a_damaged_one_is_named(tmp_path: Path) -> None:
    path = chapters.write(tmp_path, make("recites"))
    path.write_text(path.read_text()[:-5])
    with pytest.raises(LuthierError, match=r"recites\.json is damaged"):
        chapters.read_all(tmp_path)
