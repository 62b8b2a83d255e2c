"""A reproduction that is stopped: its run stops with a checkpoint, and both continue."""

from __future__ import annotations

import threading
import time
from itertools import pairwise
from pathlib import Path

import pytest

from jobs import job as jobs
from jobs.job import Job
from jobs.luthier_error import LuthierError
from jobs.spec import Spec
from jobs.state import Done, Stopped
from jobs.worker import WorkerContext
from tests.fakes.fake_run import ENDLESS, FAILS
from trainer.recipe import Recipe, Train, to_toml
from workshop.reproduction.worker import AGAIN, Reproducer, Stopping

pytestmark = [pytest.mark.heavy, pytest.mark.timeout(60)]


@pytest.fixture
def job(monkeypatch: pytest.MonkeyPatch) -> Job:
    """The reproduction's job; what it trains is a run without a model."""
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[3]))

    def train(recipe: Recipe) -> Job:
        run = jobs.create(Spec("run", recipe.name, "tests.fakes.fake_run", grace_seconds=10.0))
        (run.directory / "recipe.toml").write_text(to_toml(recipe))
        jobs.start(run)
        return run

    monkeypatch.setattr("trainer.launch.train", train)
    return jobs.create(Spec("reproduce", "r", "workshop.reproduction.worker", {"source": "x"}))


def recipe_of(seed: int) -> Recipe:
    return Recipe(data=["x.jsonl"], model="builtin", name="captain-again", train=Train(seed=seed))


def test_its_run_stops_with_it_and_is_resumed(job: Job) -> None:
    context = WorkerContext(job)

    def stop_at_the_first_step() -> None:
        while not any(event["kind"] == "step" for event in job.events()):
            time.sleep(0.05)
        context.stopping.set()

    threading.Thread(target=stop_at_the_first_step, daemon=True).start()
    with pytest.raises(Stopping):
        Reproducer(context).trained(AGAIN, recipe_of(ENDLESS))
    (run,) = jobs.all_jobs("run")
    assert isinstance(run.state(), Stopped)
    assert any((run.directory / "checkpoints").iterdir())

    (run.directory / "recipe.toml").write_text(to_toml(recipe_of(1)))
    again = Reproducer(WorkerContext(job)).trained(AGAIN, recipe_of(1))
    assert again.id == run.id and isinstance(run.state(), Done)
    assert len((run.directory / "runs.log").read_text().splitlines()) == 2
    phases = [event["name"] for event in job.events() if event["kind"] == "phase"]
    assert all(first != second for first, second in pairwise(phases))


def test_a_run_that_fails_says_why(job: Job) -> None:
    with pytest.raises(LuthierError, match=r"row 3: half a row"):
        Reproducer(WorkerContext(job)).trained(AGAIN, recipe_of(FAILS))
