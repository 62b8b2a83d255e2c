"""What tests of jobs that ask a server do again and again."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from jobs.job import Job, create
from jobs.spec import Spec
from models.runs import Run
from tests.serve.conftest import write_adapter


def run_of(base: Path, name: str = "captain", rank: int = 4) -> Run:
    """A run of `base` that has left an adapter."""
    settings = {"model": str(base), "model_directory": str(base)}
    job = create(Spec("run", name, "trainer.worker", settings=settings))
    write_adapter(job.directory / "adapter", rank)
    return Run(job)


def until(true: Callable[[], bool], job: Job, seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, f"{job.state()}\n{job.log_path.read_text()[-3000:]}"
        time.sleep(0.05)


def answered(job: Job) -> int:
    path = job.directory / "answers.jsonl"
    return len(path.read_text().splitlines()) if path.exists() else 0
