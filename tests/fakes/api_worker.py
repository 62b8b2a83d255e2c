"""The API's own worker, whose runs have the fake training worker: everything else is the real part.
`python -m tests.fakes.api_worker JOB_DIRECTORY`."""

from __future__ import annotations

from dataclasses import replace

from jobs.spec import Spec
from jobs.worker import run_worker
from trainer.launch import run_spec
from trainer.recipe import Recipe
from workshop.api import jobs, worker


def fake_spec(recipe: Recipe) -> Spec:
    """A run's orders, for the fake worker. It takes no slots, and nothing follows."""
    real = run_spec(recipe)
    return replace(real, module="tests.fakes.fake_run", slots=[], then=[], grace_seconds=10.0)


if __name__ == "__main__":
    jobs.spec_of = fake_spec
    run_worker(worker.main)
