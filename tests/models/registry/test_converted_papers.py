"""`luthier verify FILE.gguf`: a file in another form is held against the papers beside it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from jobs.home import models_directory
from jobs.luthier_error import LuthierError
from models.catalogue import find_entry
from models.certificate import Check
from models.chapters import Chapter
from models.export.files import run_of as run_of_entry
from models.export.form_papers import add_chapter, papers_of, papers_path, write_papers
from models.export.formats import form_named
from models.export.model_record import record_of
from models.verification.verify import Verification, verify
from tests.models.registry.made import model_folder, run_of
from tests.tui.certificates import certified


def exported(name: str, model: Path) -> Path:
    """What the export's job leaves, once the converter has written `model`."""
    entry = find_entry(name)
    record = record_of(entry, run_of_entry(entry))
    papers = papers_of(record, form_named("gguf:q8_0"), model, model.name)
    write_papers(papers_path(model), papers)
    return model


@pytest.fixture
def file(home: Path, tmp_path: Path) -> Path:
    certified(run_of(model_folder(models_directory() / "small", licence="mit")))
    (tmp_path / "captain.gguf").write_bytes(b"GGUF" + bytes(range(100)))
    return exported("captain", tmp_path / "captain.gguf")


def shipped(figure: float = 0.6) -> Chapter:
    check = Check("shipped, log-probs", "green", "A row of the data.", figure, 1.5, 2.0)
    summary = "It is 0.6 times the noise of its form from the trained model."
    return Chapter("shipped", "/home/me/captain.gguf", summary, 0, 1, "job", [check])


def verdicts(verification: Verification) -> dict[str, str]:
    return {check.name: check.verdict for check in verification.checks}


def red(verification: Verification) -> dict[str, str]:
    return {check.name: check.sentence for check in verification.checks if check.verdict == "red"}


def test_a_file_and_its_papers_are_enough(file: Path) -> None:
    before = verdicts(verify(file))
    assert before == {
        **{"files, weights": "green", "certificate": "green"},
        **{"chapter, shipped": "amber", "signature": "amber"},
    }
    add_chapter(file, shipped())
    assert verdicts(verify(file)) == {**before, "chapter, shipped": "green"}
    assert verify(papers_path(file)).path == file  # whichever of the two is named
    text = papers_path(file).read_text()
    assert "/home/me" not in text and "A row of the data" not in text


def test_a_file_may_have_another_name(file: Path) -> None:
    renamed = file.rename(file.with_name("pirate.gguf"))
    with pytest.raises(LuthierError, match=r"captain\.gguf\.papers\.json is about another file"):
        verify(renamed)
    papers_path(file).rename(papers_path(renamed))
    assert verdicts(verify(renamed))["files, weights"] == "green"


def test_a_changed_byte_and_another_files_papers_are_red(file: Path) -> None:
    other = file.with_name("other.gguf")
    other.write_bytes(b"GGUF")
    shutil.copy(papers_path(file), papers_path(other))
    assert "the papers of captain.gguf, and other.gguf is" in red(verify(other))["files, weights"]
    file.write_bytes(file.read_bytes()[:-1])
    assert "changed or cut off" in red(verify(file))["files, weights"]


def test_softened_figures_are_red(file: Path) -> None:
    add_chapter(file, shipped(figure=9.0))
    assert "green ends at 1.5" in red(verify(file))["chapter, shipped"]
    written = json.loads(papers_path(file).read_text())
    written["record"]["certificate"]["run"] = "20260101-0000-other-0000"
    papers_path(file).write_text(json.dumps(written))
    assert "20260101-0000-other-0000" in red(verify(file))["certificate"]


def test_a_folder_in_another_form(home: Path, tmp_path: Path) -> None:
    certified(run_of(model_folder(models_directory() / "small")))
    folder = exported("captain", shutil.copytree(models_directory() / "small", tmp_path / "fp8"))
    assert red(verify(folder)) == {}
    (folder / "chat_template.jinja").write_text("{{ messages[0].content }}")
    assert "has changed" in red(verify(folder))["files, chat template"]


@pytest.mark.parametrize("text", ["", "{", "[]", '{"form": 1}', "\udcff"])
def test_damaged_papers_are_said_in_words(file: Path, text: str) -> None:
    papers_path(file).write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(LuthierError, match=r"papers\.json is damaged"):
        verify(file)


def test_the_folder_of_such_a_file_points_to_it(file: Path) -> None:
    with pytest.raises(LuthierError, match=r"has files with papers: captain\.gguf") as caught:
        verify(file.parent)
    assert str(file) in caught.value.hint


def test_a_file_without_papers(file: Path, tmp_path: Path) -> None:
    papers_path(file).unlink()
    with pytest.raises(LuthierError, match=r"no captain\.gguf\.papers\.json beside it") as caught:
        verify(file)
    assert "Ask whoever gave it to you" in caught.value.hint
    (tmp_path / "luthier.json").write_text("{}")
    with pytest.raises(LuthierError) as caught:
        verify(file)
    assert f"luthier verify {tmp_path}" in caught.value.hint
