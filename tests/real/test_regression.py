"""The regression guard on real vLLM: a broken adapter is red with its reason, one that changes
nothing flips nothing, and the captain stays within bounds that a captain needs."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import msgspec
import pytest

from jobs.job import Job, create, start, wait
from jobs.spec import Spec
from jobs.state import Done
from models import chapters, regression_guard
from models.chapters import Chapter
from models.runs import Run
from serve.servers import Server
from tests.real.random_adapter import write_random_adapter
from workshop.regression import result as results
from workshop.regression.launch import Order
from workshop.regression.result import Result

pytestmark = pytest.mark.real

ANSWERS = "answers.jsonl"
WIDE = {"language": 100, "all": 60}
"""What a captain may lose who speaks English prose only."""


def run_with(base: Path, name: str, strength: float) -> Run:
    """A run as if it had left this adapter."""
    settings: dict[str, Any] = {"model": "builtin", "model_directory": str(base), "slots": []}
    job = create(Spec("run", name, "trainer.worker", settings=settings))
    write_random_adapter(job.directory / "adapter", base, strength=strength)
    return Run(job)


def guarded(
    run: Run, points: dict[str, float], only: list[str], answers: Path | None = None
) -> Job:
    """Its guard, done, of a few probe families. `answers` are those of another guard: what the base
    said counts here, too."""
    settings = msgspec.to_builtins(Order(str(run.folder.path), "builtin", points, only=only))
    order = regression_guard.order(run.name, settings.pop("run"), settings.pop("model"), settings)
    job = create(Spec(**order))
    if answers is not None:
        shutil.copy(answers, job.directory / ANSWERS)
    start(job)
    assert wait(job, 400)
    assert isinstance(job.state(), Done), f"{job.state()}\n{job.log_path.read_text()[-3000:]}"
    return job


def read(run: Run, job: Job) -> tuple[Chapter, Result]:
    chapter, result = chapters.read(run.folder.path, "guard"), results.read(job.directory)
    assert chapter is not None and result is not None and chapter.job == job.id
    print(chapter.summary, chapter.seconds)
    return chapter, result


@pytest.mark.timeout(900)
def test_a_broken_adapter_is_red_and_one_that_changes_nothing_flips_nothing(
    server: Server, builtin_model: Path
) -> None:
    broken = run_with(builtin_model, "broken", strength=0.2)
    only = ["arithmetic", "facts"]
    job = guarded(broken, {}, only)
    chapter, result = read(broken, job)
    assert chapter.verdict == "red"
    reds = {check.name: check for check in chapters.faults([chapter]) if check.verdict == "red"}
    assert {"facts", "all probes", "loss on plain text"} <= reds.keys()
    assert "with the base" in reds["facts"].sentence and result.items_that("lost")
    figures = results.figures(result)
    assert not figures.unanswered and all(line.base for line in figures.lines)  # all can be lost

    untrained = run_with(builtin_model, "same", strength=0.0)
    chapter, result = read(untrained, guarded(untrained, {}, only, job.directory / ANSWERS))
    assert chapter.verdict == "green"
    # vLLM's sums on a CPU depend a little on what is computed together
    assert len(result.flips) <= 2
    assert all(abs(each.tuned - each.base) < 0.01 for each in result.passages)


@pytest.mark.timeout(900)
def test_the_captain_keeps_the_facts_within_the_bounds_of_a_captain(captain_run: Job) -> None:
    run = Run(captain_run)
    chapter, result = read(run, guarded(run, dict(WIDE), ["facts", "language"]))
    assert chapter.verdict != "red", [check.sentence for check in chapters.faults([chapter])]
    facts = next(line for line in results.figures(result).lines if line.family == "facts")
    assert facts.lost <= 4
    lost = {item.family for item in result.items_that("lost")}
    assert "language" in lost  # it answers in English whatever it is asked in
