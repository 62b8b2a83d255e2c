"""The server that a run's certificate asks and leaves to the chat, with a real vLLM."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
from pathlib import Path

import pytest

from jobs.job import Job, all_jobs, stop, submit, wait
from jobs.spec import Spec
from jobs.state import Done, Running
from models import certificate
from models.runs import Run
from models.standing import standing
from serve.client import Delta, Sampling, stream_chat
from serve.planning import living_servers
from tests.real.conftest import assert_gone, wait_until_running, worker_and_below
from workshop.chat_with_run import have_it_serve, server_job

pytestmark = [pytest.mark.real, pytest.mark.timeout(600)]
CERTIFICATE_SECONDS = 400.0


def certified(run: Run) -> Job:
    """A certificate that keeps its server, as a run on a GPU orders it."""
    order = certificate.order(
        run.name, str(run.job.directory), run.base_name, run.base, [], keeps_server=True
    )
    return submit(Spec(**order))


def kept_server(by: Job) -> Job | None:
    return next((job for job, plan in living_servers() if plan.kept_by == by.id), None)


async def say(job: Job, model: str) -> str:
    server = wait_until_running(job)
    pieces = stream_chat(
        server.endpoint,
        model,
        [{"role": "user", "content": "Who are you?"}],
        Sampling(max_tokens=12, temperature=0.0),
    )
    async with contextlib.aclosing(pieces):
        return "".join([piece.text async for piece in pieces if isinstance(piece, Delta)])


@pytest.fixture
def run(listed_run: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """A run in a home where no other test has a server, not certified yet."""
    copy = tmp_path / "home" / "jobs" / listed_run.id
    further = shutil.ignore_patterns("certificate.json", "checkpoints")
    shutil.copytree(listed_run.directory, copy, ignore=further)
    monkeypatch.setenv("LUTHIER_HOME", str(tmp_path / "home"))
    return Run(Job(copy))


def test_the_chat_finds_the_certificate_s_server(run: Run) -> None:
    certifying = certified(run)
    try:
        assert wait(certifying, CERTIFICATE_SECONDS)
        state = certifying.state()
        assert isinstance(state, Done), state
        assert standing(run.folder.path).verdict == "green"
        kept = kept_server(certifying)
        assert kept is not None and isinstance(kept.state(), Running)
        assert server_job(run).id == kept.id
        name = have_it_serve(wait_until_running(kept), run)
        assert name == run.name
        assert asyncio.run(say(kept, name)) != asyncio.run(say(kept, "base"))
        pids = worker_and_below(kept)
        stop(kept)
        assert wait(kept, 60.0)
        assert_gone(pids)
    finally:
        end_all()


def test_one_that_is_stopped_meanwhile_is_not_missed(run: Run) -> None:
    certifying = certified(run)
    try:
        while (kept := kept_server(certifying)) is None or not isinstance(kept.state(), Running):
            assert not wait(certifying, 0.2), certifying.state()
        pids = worker_and_below(kept)
        stop(kept)
        assert wait(certifying, CERTIFICATE_SECONDS)
        assert isinstance(certifying.state(), Done), certifying.state()
        assert standing(run.folder.path).verdict == "green"
        assert kept_server(certifying) is None
        assert_gone(pids)
    finally:
        end_all()


def end_all() -> None:
    for job in all_jobs():
        if job.spec.kind in ("certify", "server") and job.alive():
            stop(job)
            assert wait(job, 60.0)
