"""A guard as a job: it lends itself a server, survives a kill, asks nothing twice, refuses what
cannot be compared, and leaves a chapter."""

from __future__ import annotations

import os
import shutil
import signal
from pathlib import Path

import pytest

from jobs.job import stop, wait
from jobs.luthier_error import LuthierError
from jobs.state import Done, Failed
from models import chapters
from models.folder import TEMPLATE_FILE, TOKENIZER_CONFIG_FILE
from models.runs import Run
from serve.comparison.journal import Journal
from serve.servers import running_servers
from tests.serve.asking_jobs import answered, run_of, until
from tests.serve.test_life import FAKE_HOME
from workshop.regression import result as results
from workshop.regression.launch import Order, guard_run, newest_job, order_of
from workshop.regression.probes import luthiers_probes, passages

EVERYTHING = 2 * (len(luthiers_probes()) + len(passages()))


@pytest.fixture
def run(base: Path) -> Run:
    return run_of(base)


@pytest.fixture
def order(run: Run) -> Order:
    return Order(str(run.folder.path), run.base_name)


@pytest.mark.heavy
@pytest.mark.timeout(180)
def test_a_guard_that_is_killed_goes_on_and_leaves_a_chapter(
    run: Run, order: Order, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", f"{FAKE_HOME}:{Path(__file__).parents[2]}")
    monkeypatch.setenv("FAKE_RATE", "100")
    job = guard_run(order)
    try:
        until(lambda: answered(job) >= 10, job)
        assert guard_run(order).id == job.id  # it is at it already
        worker = next(event["pid"] for event in job.events() if event["kind"] == "started")
        supervisor = job.supervisor()
        assert supervisor is not None
        os.kill(supervisor, signal.SIGKILL)
        os.kill(worker, signal.SIGKILL)
        until(lambda: job.supervisor() is None, job)
        with (job.directory / "answers.jsonl").open("ab") as file:
            file.write(b'{"key": "torn')  # as a power cut would leave it
        kept = len(Journal(job.directory / "answers.jsonl").found)
        monkeypatch.setenv("FAKE_RATE", "2000")
        assert guard_run(order).id == job.id  # it goes on
        assert wait(job, 120)
    finally:
        stop(job, now=True)
        for server in running_servers():
            stop(server.job, now=True)
    state = job.state()
    assert isinstance(state, Done), job.log_path.read_text()[-2000:]
    journal = Journal(job.directory / "answers.jsonl")
    assert 0 < kept < len(journal.found) == EVERYTHING
    assert answered(job) == EVERYTHING + 1  # the torn line
    result = results.read(job.directory)
    assert result is not None and len(result.items) == len(luthiers_probes())
    assert not results.figures(result).unanswered
    chapter = chapters.read(run.folder.path, "guard")
    assert chapter is not None and chapter.job == job.id and chapter.summary in str(state.result)
    names = [check.name for check in chapter.checks]
    assert names[0] == "instructions" and names[-2:] == ["all probes", "loss on plain text"]
    assert newest_job(run) == job
    assert guard_run(order).id != job.id  # what is done is asked again
    following = newest_job(run)
    assert following is not None
    stop(following, now=True)
    wait(following, 30)


@pytest.mark.heavy
@pytest.mark.timeout(120)
def test_another_run_takes_the_place_of_the_base(
    run: Run, base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both are asked, the base is not, and only what was named; the chapter is one of its own."""
    monkeypatch.setenv("PYTHONPATH", f"{FAKE_HOME}:{Path(__file__).parents[2]}")
    monkeypatch.setenv("FAKE_RATE", "2000")
    plain = run_of(base, "plain")
    order = Order(
        str(plain.folder.path), plain.base_name, against=str(run.folder.path), only=["facts"]
    )
    job = guard_run(order)
    assert wait(job, 100)
    assert isinstance(job.state(), Done), job.log_path.read_text()[-2000:]
    result = results.read(job.directory)
    assert result is not None and (result.base, result.tuned) == ("captain", "plain")
    assert {item.family for item in result.items} == {"facts"}
    entries = [*Journal(job.directory / "answers.jsonl").found.values()]
    assert {entry["model"] for entry in entries} == {"captain", "plain"}
    assert len(entries) == 2 * (len(result.items) + len(passages()))
    chapter = chapters.read(plain.folder.path, "guard", f"against {run.job.short_id}")
    assert chapter is not None and chapter.job == job.id
    assert [check.name for check in chapter.checks] == ["facts", "loss on plain text"]
    assert chapters.read(plain.folder.path, "guard") is None
    assert order_of(job) == order


def test_another_template_than_the_bases_is_refused_by_name(
    run: Run, base: Path, order: Order
) -> None:
    (base / TEMPLATE_FILE).write_text("{{ messages }}")
    (run.folder.adapter / TOKENIZER_CONFIG_FILE).write_text("{}")
    (run.folder.adapter / TEMPLATE_FILE).write_text("{{ messages }} other")
    with pytest.raises(LuthierError, match=r"captain and its base .* different chat templates"):
        guard_run(order)
    assert newest_job(run) is None


def test_what_is_wrong_is_said_before_anything_starts(
    run: Run, order: Order, tmp_path: Path
) -> None:
    wrong_bound = Order(order.run, order.model, points={"fact": 3})
    with pytest.raises(LuthierError, match="fact, but"):
        guard_run(wrong_bound)
    no_file = Order(order.run, order.model, probes=[str(tmp_path / "nowhere.jsonl")])
    with pytest.raises(LuthierError, match="No such file"):
        guard_run(no_file)
    no_family = Order(order.run, order.model, only=["facts", "fact"])
    with pytest.raises(LuthierError, match="ask fact, but"):
        guard_run(no_family)
    with pytest.raises(LuthierError, match="against itself"):
        guard_run(Order(order.run, order.model, against=order.run))
    with pytest.raises(LuthierError, match="not there any more"):
        guard_run(Order(order.run, order.model, against=str(tmp_path / "20261129-1200-gone-0000")))
    shutil.rmtree(run.folder.adapter)
    with pytest.raises(LuthierError, match="no adapter"):
        guard_run(order)
    assert newest_job(run) is None


@pytest.mark.heavy
@pytest.mark.timeout(120)
def test_a_server_that_cannot_start_fails_the_guard_in_words(
    run: Run, order: Order, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", f"{FAKE_HOME}:{Path(__file__).parents[2]}")
    monkeypatch.setenv("FAKE_FAULT", "start")
    job = guard_run(order)
    assert wait(job, 100)
    state = job.state()
    assert isinstance(state, Failed) and state.message, state
    assert chapters.read(run.folder.path, "guard") is None
