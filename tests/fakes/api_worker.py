"""The API's own worker, whose runs have the fake training worker: everything else is the real part.
`python -m tests.fakes.api_worker JOB_DIRECTORY`."""

from __future__ import annotations

from dataclasses import replace

from jobs.spec import Spec
from jobs.worker import run_worker
from trainer.launch import planned_spec
from trainer.plan.plan import Plan
from trainer.recipe import Recipe
from workshop.api import jobs, worker


def fake_spec(recipe: Recipe, plan: Plan) -> Spec:
    """A run's orders, for the fake worker. It takes no slots, and nothing follows."""
    real = planned_spec(recipe, plan)
    return replace(real, module="tests.fakes.fake_run", slots=[], then=[], grace_seconds=10.0)


if __name__ == "__main__":
    jobs.planned_spec = fake_spec
    run_worker(worker.main)
