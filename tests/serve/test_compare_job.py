"""A comparison as a job: it lends itself a server, can be stopped, goes on where it was, and leaves
a report that the app reads."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from jobs.foreign_json import Damaged
from jobs.job import Job, create, stop, wait
from jobs.luthier_error import LuthierError
from jobs.spec import Spec
from jobs.state import Done, Running, Stopped
from serve.servers import running_servers
from tests.serve.asking_jobs import answered, run_of, until
from tests.serve.test_comparison import conversations
from tests.serve.test_life import FAKE_HOME
from trainer.resume import write as write_fingerprint
from workshop.comparison.compare import Order
from workshop.comparison.launch import go_on, order_of, start_comparison
from workshop.comparison.reports import REPORT_JSON, read_report
from workshop.job_list import read_row


@pytest.fixture
def run(base: Path) -> Job:
    return run_of(base).job


def prompts(folder: Path, count: int) -> Path:
    rows = (
        [("user", f"hello {n}"), ("assistant", f"captain says hello {n}")] for n in range(count)
    )
    return conversations(folder / "prompts.jsonl", *rows)


@pytest.mark.heavy
@pytest.mark.timeout(120)
def test_a_comparison_is_stopped_goes_on_and_leaves_a_report(
    run: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", f"{FAKE_HOME}:{Path(__file__).parents[2]}")
    monkeypatch.setenv("FAKE_RATE", "8")  # words a second: slow enough to be stopped
    order = Order([run.id], str(prompts(tmp_path, 12)), max_tokens=6, at_once=1)
    job = start_comparison(order)
    try:
        until(lambda: answered(job) >= 2 and isinstance(job.state(), Running), job)
        row = read_row(job)
        assert (row.kind, row.name, row.total) == ("compare", "captain-compare", 24)
        assert 0 < row.step < 24
        stop(job)
        assert wait(job, 40)
        assert isinstance(job.state(), Stopped) and read_report(job.directory) is None
        assert running_servers() == []  # it was the comparison's own
        kept = answered(job)
        monkeypatch.setenv("FAKE_RATE", "500")
        go_on(job)
        assert wait(job, 60)
    finally:
        stop(job, now=True)
    state = job.state()
    assert isinstance(state, Done), job.log_path.read_text()[-2000:]
    assert state.result["questions"] == 12 and state.result["answered"] == 24
    assert answered(job) == 24 and kept < 24  # nothing was asked twice
    report = read_report(job.directory)
    assert report is not None and len(report.questions) == 12
    first = report.questions[0]
    assert [answer.model for answer in first.answers] == ["base", "captain"]
    assert first.reference == "captain says hello 0" and not first.answers[1].failed
    titles = [title for title, _, _ in report.tables]
    assert titles[:3] == ["Answers", "Against the references", "Why captain differs"]
    assert report.in_short
    assert running_servers() == []


def seeded(job: Job, seed: int, **recipe: object) -> Job:
    """The record of the recipe that the run began with."""
    record = {"recipe": {"train.seed": seed, **recipe}, "data": {}, "samples": {}, "model": {}}
    write_fingerprint(job.directory, {**record, "template": "", "versions": {}, "devices": []})
    return job


@pytest.mark.heavy
@pytest.mark.timeout(120)
def test_another_seeds_run_is_asked_too_and_is_the_unit(
    run: Job, base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", f"{FAKE_HOME}:{Path(__file__).parents[2]}")
    other = run_of(base, "captain-seed-2").job
    seeded(run, 1, **{"train.epochs": 2.0})
    seeded(other, 2, **{"train.epochs": 3.0})
    order = Order([run.id], str(prompts(tmp_path, 9)), max_tokens=6, by=["turn"], noise=other.id)
    job = start_comparison(order)
    try:
        assert wait(job, 60)
    finally:
        stop(job, now=True)
    assert isinstance(job.state(), Done), job.log_path.read_text()[-2000:]
    report = read_report(job.directory)
    assert report is not None and [answer.model for answer in report.questions[0].answers] == [
        "base",
        "captain",
        "captain-seed-2",
    ]
    facts = dict(report.facts)
    assert "train.epochs (2.0, 3.0)" in facts["another seed"]
    titles = [title for title, _, _ in report.tables]
    assert "Why captain differs" in titles and "captain by turn" in titles
    assert "Why captain-seed-2 differs" not in titles
    (table,) = (table for title, table, _ in report.tables if title == "Why captain differs")
    assert "two seeds" in table[0]


def test_what_is_no_unit_is_refused(run: Job, base: Path, tmp_path: Path) -> None:
    other = run_of(base, "captain-again").job
    seeded(run, 1)
    seeded(other, 1)
    path = str(prompts(tmp_path, 2))
    for order, title in (
        (Order([run.id], path, noise=run.id), "A run is not its own noise"),
        (Order([run.id], path, noise=other.id), "The seeds are the same"),
        (Order([run.id], path, by=["topic"]), "No such column"),
    ):
        with pytest.raises(LuthierError) as caught:
            start_comparison(order)
        assert caught.value.title == title


@pytest.mark.parametrize(
    ("runs", "text", "title"),
    [
        ([], "hello", "No run is chosen"),
        (["captain"], "", "Empty file"),
        (["capstan"], "hello", "No such run"),
        (["captain@7"], "hello", "No such checkpoint"),
    ],
)
def test_what_is_wrong_is_said_before_anything_starts(
    run: Job, tmp_path: Path, runs: list[str], text: str, title: str
) -> None:
    path = tmp_path / "prompts.txt"
    path.write_text(text)
    with pytest.raises(LuthierError) as caught:
        start_comparison(Order(runs, str(path)))
    assert caught.value.title == title


def test_damaged_orders_and_reports_are_named(run: Job) -> None:
    job = create(Spec("compare", "captain-compare", "x", settings={"runs": "captain"}))
    with pytest.raises(LuthierError):
        order_of(job)
    (job.directory / REPORT_JSON).write_text("{")
    with pytest.raises(Damaged):
        read_report(job.directory)
    (job.directory / REPORT_JSON).write_text(json.dumps({"models": {}, "rows": [3]}))
    with pytest.raises(Damaged):
        read_report(job.directory)
