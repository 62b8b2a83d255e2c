"""One GPU for a certificate and the server that it leaves to the chat: real supervisors, queue,
worker and guard; vLLM has no model, and nvidia-smi says what the test wants."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from jobs import job as jobs
from jobs import slots
from jobs.job import Job
from jobs.spec import Spec
from jobs.state import Done, Queued, Running, Starting
from models import certificate
from serve.planning import living_servers
from tests.jobs.acting import end_everything, events, in_state, spec, wait_for
from tests.jobs.test_slots import Machine
from tests.serve.conftest import write_adapter
from tests.serve.test_life import FAKE_HOME, Starter, say, start
from workshop.servers import once_ready

pytestmark = [pytest.mark.heavy, pytest.mark.timeout(90)]
__all__ = ["start"]
CHECKOUT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def machine(start: Starter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setenv("PYTHONPATH", f"{FAKE_HOME}:{CHECKOUT}:{CHECKOUT / 'tests' / 'fakes'}")
    Machine(tmp_path).has(79_000)


def certifying(base: Path) -> Job:
    """A job with a certificate's orders that measures nothing, and runs until it is stopped."""
    order = Spec(**certificate.order("captain", "{job}", "tiny", base, ["gpu"], keeps_server=True))
    return jobs.submit(replace(order, module="fake_worker", settings={"conduct": "steps"}))


def test_it_shares_the_gpu_with_the_certificate_and_makes_way_for_a_run_unasked(
    base: Path, start: Starter, tmp_path: Path
) -> None:
    proof = certifying(base)
    in_state(proof, Running, Starting)
    server = start(
        ("captain", write_adapter(tmp_path / "captain"), None),
        device="gpu",
        beside_bytes=certificate.memory_needed(base),
        kept_by=proof.id,
    )
    assert {job.spec.kind for job in slots.taken_by(["gpu-0"])} == {"certify", "server"}
    run = jobs.submit(spec("steps", slots=["gpu"]))  # nothing says what it does about a server
    try:
        in_state(run, Queued)
        assert asyncio.run(say(server, "captain")).startswith("captain says")
        assert isinstance(server.job.state(), Running)  # as long as the certificate is made
        end_everything(proof)
        in_state(server.job, Done)
        in_state(run, Running)
        assert [event["reason"] for event in events(server.job) if event["kind"] == "result"] == [
            "nobody used it, and another job needs the GPU"
        ]
        assert living_servers() == []
    finally:
        end_everything(run)


def test_a_chat_keeps_it(base: Path, start: Starter) -> None:
    server = start(device="gpu", beside_bytes=1 << 30, kept_by="20261122-1530-captain-7f3a")
    assert once_ready(server.job).job.id == server.job.id
    run = jobs.submit(spec("steps", slots=["gpu"]))
    try:
        in_state(run, Queued)
        with pytest.raises(AssertionError, match="did not happen"):
            wait_for(lambda: not isinstance(server.job.state(), Running), 8.0)
        assert isinstance(server.job.state(), Running) and isinstance(run.state(), Queued)
    finally:
        end_everything(run)
