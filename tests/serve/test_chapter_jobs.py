"""What a model recites and where it drifted, as jobs: each lends itself a server, can be stopped,
goes on where it was, and leaves its chapter in the run's folder."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from jobs.job import Job, all_jobs, create, stop, wait
from jobs.luthier_error import LuthierError
from jobs.spec import Spec
from jobs.state import Done, Running, Stopped
from models import chapters
from models.chapters import Chapter, ChapterKind
from models.runs import Run
from models.standing import standing
from serve.drift import spill_map
from serve.drift.prompts import own_prompts
from serve.servers import running_servers
from tests.serve.asking_jobs import answered, run_of, until
from tests.serve.test_life import FAKE_HOME
from workshop.drift.launch import drift, drift_again
from workshop.job_list import read_row
from workshop.recites.launch import recites, recites_again

ROWS = 40


def ids(text: str) -> list[int]:
    return [ord(character) for character in text]


def line(row: int) -> dict[str, object]:
    question, answer = f"Question {row}?", f"The answer of row {row} is long enough to be recited."
    asked, answer_ids = ids(question), ids(answer)
    return {
        "source": {"file": "pirates.jsonl", "row": row},
        "turns": [1],
        "input_ids": [*asked, *answer_ids],
        "labels": [-100] * len(asked) + answer_ids,
        "messages": [
            {"role": "user", "content": question},
            {"role": "assistant", "content": answer},
        ],
    }


@pytest.fixture
def run(base: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """A run that knows rows 3 and 11 of its data by heart, with a server that says so."""
    run = run_of(base)
    run.folder.data.mkdir()
    for path, rows in (
        (run.folder.train_samples, range(ROWS)),
        (run.folder.heldout_samples, range(100, 116)),
    ):
        path.write_text("".join(json.dumps(line(row)) + "\n" for row in rows))
    monkeypatch.setenv("PYTHONPATH", f"{FAKE_HOME}:{Path(__file__).parents[2]}")
    monkeypatch.setenv("FAKE_RECITED", json.dumps([line(row)["input_ids"] for row in (3, 11)]))
    return run


def done(job: Job) -> dict[str, object]:
    assert wait(job, 60)
    state = job.state()
    assert isinstance(state, Done), job.log_path.read_text()[-2000:]
    return state.result


@pytest.mark.heavy
@pytest.mark.timeout(120)
def test_recited_rows_are_red_after_a_stop_too(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAKE_RATE", "30")
    job = recites(run)
    try:
        until(lambda: answered(job) >= 2 and isinstance(job.state(), Running), job)
        assert recites(run) == job  # one at a time
        stop(job)
        assert wait(job, 40) and isinstance(job.state(), Stopped)
        assert chapters.read(run.folder.path, "recites") is None and running_servers() == []
        kept = answered(job)
        monkeypatch.setenv("FAKE_RATE", "500")
        assert recites(run) == job  # the same one goes on
        result = done(job)
    finally:
        stop(job, now=True)
    assert answered(job) == 2 * (ROWS + 16) and 0 < kept < answered(job)  # nothing asked twice
    chapter = chapters.read(run.folder.path, "recites")
    assert chapter is not None and (chapter.verdict, chapter.job) == ("red", job.id)
    assert (result["verdict"], result["summary"]) == ("red", chapter.summary)
    assert [entry["row"] for entry in chapter.figures["recited"]] == [3, 11]
    assert "rows 3 and 11 of pirates.jsonl" in standing(run.folder.path).reason
    assert read_row(job).total == 2 * (ROWS + 16) and running_servers() == []


@pytest.mark.heavy
@pytest.mark.timeout(120)
def test_the_drift_and_another_seeds_are_measured(run: Run, base: Path) -> None:
    other = run_of(base, "other", rank=2)
    job = drift(run, unit=other)
    try:
        done(job)
    finally:
        stop(job, now=True)
    chapter = chapters.read(run.folder.path, "drift")
    assert chapter is not None and chapter.verdict == "green"
    figures = {check.name: check.figure for check in chapter.checks}
    assert figures["drift outside the data"] == pytest.approx(1.0, abs=0.2)
    spills = spill_map.read(job.directory)
    assert len(spills) == len(own_prompts()) + 12
    assert all(spill.divergence > 0 and spill.of_chance == 0 for spill in spills)
    assert {shift for spill in spills for _, shift in spill.pieces} == {0.0, -0.693}
    assert running_servers() == []


def test_what_is_wrong_is_said_before_anything_starts(run: Run, tmp_path: Path) -> None:
    with pytest.raises(LuthierError, match="cannot be read"):
        recites(run, canaries=tmp_path / "none.txt")
    with pytest.raises(LuthierError, match="is the run itself"):
        drift(run, unit=run)
    run.folder.train_samples.unlink()
    with pytest.raises(LuthierError, match="no training samples"):
        recites(run)
    (run.folder.adapter / "adapter_config.json").unlink()
    with pytest.raises(LuthierError, match="has no adapter"):
        drift(run)


def test_measured_again_with_what_it_was_measured_with(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    planted, prompts = tmp_path / "planted.txt", tmp_path / "prompts.txt"
    planted.write_text("The code is 48151623.\n")
    prompts.write_text("Where is the treasure?\n")
    monkeypatch.setattr("workshop.chapter_job.submit", create)
    measured: list[tuple[ChapterKind, Job, Callable[[Run, Chapter], Job]]] = [
        ("recites", recites(run, 7, planted), recites_again),
        ("drift", drift(run, prompts), drift_again),
    ]
    for kind, job, again in measured:
        settings = dict(job.spec.settings)
        ended: list[dict[str, object]] = [
            {"t": 1.0, "kind": "queued", "attempt": 1},
            {"t": 2.0, "kind": "result"},
            {"t": 3.0, "kind": "exited", "code": 0},
        ]
        job.events_path.write_text("".join(json.dumps(event) + "\n" for event in ended))
        chapter = Chapter(kind, "", "", 0.0, 0.0, job.id, [])
        second = again(run, chapter)
        assert second != job and dict(second.spec.settings) == settings
        for each in (job, second):
            shutil.rmtree(each.directory)
        usual = again(run, chapter).spec.settings
        assert (usual.get("prompts", ""), usual.get("canaries", "")) == ("", "")


@pytest.mark.heavy
@pytest.mark.timeout(120)
def test_a_run_of_every_weight_is_asked_one_server_after_the_other(run: Run, base: Path) -> None:
    shutil.rmtree(run.folder.adapter)
    shutil.copytree(base, run.folder.model)
    job = drift(run)
    try:
        result = done(job)
    finally:
        stop(job, now=True)
    assert result["verdict"] == "amber"  # no model of the fake moves without an adapter
    servers = [of for of in all_jobs("server") if of.spec.settings["base"]]
    assert len(servers) == 2 and running_servers() == []
    chapter = chapters.read(run.folder.path, "drift")
    assert chapter is not None
    folders = {Path(stamp.path).parent for stamp in chapter.files}
    assert folders == {base, run.folder.model}
    with pytest.raises(LuthierError, match="must be an adapter"):
        drift(
            run, unit=Run(create(Spec("run", "other", "t", settings=dict(run.job.spec.settings))))
        )
