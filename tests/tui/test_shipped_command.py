"""`luthier certify RUN --shipped`: what it shows, its JSON, its exit status, its refusals."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from jobs.job import Job, all_jobs
from jobs.luthier_error import LuthierError
from models import chapters
from models.certificate import Check, Stamp, Verdict
from models.chapters import Chapter
from tests.tui import folders
from tui.commands.certify import certify


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "captain.gguf"
    path.write_bytes(b"GGUF")
    return path


def certified(job: Job, file: Path, verdict: Verdict) -> None:
    stat = file.stat()
    checks = [
        Check(
            "chat template", "green", "The chat template is training's.", 0, 0, 0, "of 4 prompts"
        ),
        Check("weights", verdict, "blk.1 is 10.0% away.", 22.1, 1.5, 2.0, "times"),
    ]
    chapter = Chapter(
        kind="shipped",
        subject=str(file),
        summary="It is 0.6 times the noise of its form from the trained model.",
        made=folders.NOW,
        seconds=61.0,
        job="20261129-1200-captain-shipped-0001",
        checks=checks,
        calibration="The base model, written as q8_0 by the same export.",
        figures={"bytes": 144_810_816, "bytes_trained": 272_668_793, "tokens_per_second": 335.2},
        files=[Stamp(str(file), stat.st_size, stat.st_mtime_ns)],
    )
    chapters.write(job.directory, chapter)


@pytest.mark.parametrize(("verdict", "status"), [("green", 0), ("amber", 0), ("red", 1)])
def test_what_it_shows_and_its_status(
    jobs_by_name: dict[str, Job], file: Path, verdict: Verdict, status: int
) -> None:
    certified(jobs_by_name["captain"], file, verdict)
    page = CliRunner().invoke(certify, ["captain", "--shipped", str(file), "--show"])
    assert page.exit_code == status, page.exception
    for text in (verdict, "53% of the trained model", "335 prompt tokens/s", "written as q8_0"):
        assert text in page.stdout
    assert ("blk.1 is 10.0% away" in page.stdout) == (verdict != "green")
    arguments = ["captain", "--shipped", str(file), "--show", "--json"]
    page_json = json.loads(CliRunner().invoke(certify, arguments).stdout)
    assert (page_json["verdict"], page_json["outdated"], page_json["subject"]) == (
        verdict,
        False,
        str(file),
    )
    assert page_json["reasons"] == ([] if verdict == "green" else ["blk.1 is 10.0% away."])
    file.write_bytes(b"GGUF, another")
    again = CliRunner().invoke(certify, ["captain", "--shipped", str(file), "--show"])
    assert "outdated" in again.stdout


@pytest.mark.parametrize(
    ("arguments", "title"),
    [
        (["captain", "--shipped", "FILE", "--show"], "Not certified yet"),
        (["captain", "--shipped", "/nowhere/m.gguf"], "Nothing there"),
        (["captain", "--model", "captain"], "Nothing to ask"),
        (["nobody", "--shipped", "FILE"], "No such run"),
    ],
)
def test_refusals_start_no_job(
    jobs_by_name: dict[str, Job], file: Path, arguments: list[str], title: str
) -> None:
    before = len(list(all_jobs()))
    with_file = [str(file) if argument == "FILE" else argument for argument in arguments]
    error = CliRunner().invoke(certify, with_file).exception
    assert isinstance(error, LuthierError) and error.title == title, error
    assert len(list(all_jobs())) == before
