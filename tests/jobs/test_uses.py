"""What is needed is not removed, what is removed at once is removed once, and nobody else looks
into what is there."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier
from typing import Any

import pytest

from jobs import job as jobs
from jobs.home import jobs_directory, private_folder
from jobs.job import Job
from jobs.luthier_error import LuthierError
from jobs.spec import Kind, Spec
from jobs.uses import SERVED, users_of
from tests.jobs.acting import spec


@pytest.fixture
def run() -> Job:
    """A run that has ended, with an adapter."""
    job = jobs.create(spec("well"))
    end(job)
    (job.directory / "adapter").mkdir()
    return job


def end(job: Job) -> None:
    exited = {"t": 1.0, "kind": "exited", "code": 0, "stopped": True}
    job.events_path.write_text(json.dumps(exited) + "\n")


USES: list[tuple[Kind, dict[str, Any]]] = [
    (
        "server",
        {
            "base": "/elsewhere",
            "adapters": [{"name": "well", "path": "{run}/adapter", "run": "{id}"}],
        },
    ),
    ("server", {"base": "{run}/merged", "adapters": []}),
    ("server", {"base": "/elsewhere", "adapters": []}),  # it loads the adapter once it runs
    ("merge", {"base": "/elsewhere", "adapter": "{run}/adapter", "out": "/elsewhere/out"}),
    ("certify", {"run": "{run}"}),
    ("export", {"folder": "{run}/adapter"}),
    ("compare", {"models": ["{id}/merged"]}),
    ("run", {"model": "{id}/merged", "model_directory": "{run}/merged"}),
]


@pytest.mark.parametrize(("kind", "settings"), USES)
def test_what_a_living_job_needs_is_not_removed(
    run: Job, kind: Kind, settings: dict[str, Any]
) -> None:
    filled = json.loads(
        json.dumps(settings).replace("{run}", str(run.directory)).replace("{id}", run.id)
    )
    # younger than ten seconds: about to start
    user = jobs.create(Spec(kind, "user", "fake_worker", filled))
    if kind == "server":
        served = {"models": [{"id": "well", "path": str(run.directory / "adapter")}]}
        (user.directory / SERVED).write_text(json.dumps(served))
    assert users_of(run.directory, jobs.all_jobs()) == [user]
    with pytest.raises(LuthierError, match=rf"used by user \({kind}, {user.id}\)"):
        jobs.remove(run)
    assert (run.directory / "adapter").is_dir()
    end(user)
    jobs.remove(run)
    assert not run.directory.exists()


def test_what_begins_to_use_it_meanwhile_keeps_it(
    run: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    user = jobs.create(Spec("certify", "user", "fake_worker", {"run": str(run.directory)}))
    looks: list[list[Job]] = [[user], []]
    monkeypatch.setattr(jobs, "all_jobs", lambda: looks.pop() if len(looks) > 1 else looks[0])
    with pytest.raises(LuthierError, match="In use"):
        jobs.remove(run)
    assert (run.directory / "adapter").is_dir()


def test_a_job_of_a_like_name_is_no_user(run: Job) -> None:
    jobs.create(Spec("certify", "other", "fake_worker", {"run": f"{run.directory}-2"}))
    jobs.remove(run)


def test_of_several_who_remove_one_job_at_once_one_does_and_the_others_are_told(run: Job) -> None:
    for number in range(300):
        (run.directory / "adapter" / str(number)).touch()
    ready = Barrier(6)

    def remove(number: int) -> str:
        job = jobs.find(run.id)
        ready.wait()
        try:
            jobs.remove(job)
        except LuthierError as error:
            return error.title
        return ""

    with ThreadPoolExecutor(6) as pool:
        told = sorted(pool.map(remove, range(6)))
    assert told == ["", *["Already removed"] * 5]
    assert not any(jobs_directory().glob("*-well-*"))


def modes(*folders: Path) -> list[int]:
    return [folder.stat().st_mode & 0o777 for folder in folders]


def test_jobs_are_their_owners_alone(run: Job) -> None:
    assert modes(jobs_directory(), run.directory) == [0o700, 0o700]


def test_folders_from_before_are_closed_once_and_what_a_user_opens_stays_open(home: Path) -> None:
    jobs_directory().mkdir(parents=True)
    jobs_directory().chmod(0o755)
    assert modes(jobs_directory(), jobs.create(spec("well")).directory) == [0o755 & 0o700, 0o700]
    jobs_directory().chmod(0o750)
    assert modes(jobs_directory(), jobs.create(spec("well")).directory) == [0o750, 0o750]
    assert private_folder(jobs_directory()) == 0o750
