"""Jobs that can give way, in the queue: what a run does about them, and when they have their slots
again. A worker that never rests stands for a server, and this test writes its `resting.json` for
it."""

from __future__ import annotations

from pathlib import Path

import pytest

from jobs import giving_way, queue, slots
from jobs import job as jobs
from jobs.giving_way import SETTING, Resting, Wish
from jobs.job import Job
from jobs.spec import BesideServer
from jobs.state import Queued, Running
from tests.jobs.acting import events, first, in_state, spec, wait_for
from tests.jobs.test_slots import GIB, Machine, machine

pytestmark = pytest.mark.heavy

__all__ = ["machine"]


def serving(*wanted: str) -> Job:
    job = jobs.submit(spec("steps", slots=list(wanted), share_gpu=True, gives_way=True))
    in_state(job, Running)
    return job


def running(beside: BesideServer, *wanted: str, share: bool = False) -> Job:
    return jobs.submit(
        spec(
            "steps",
            slots=list(wanted or ["gpu"]),
            beside_server=beside,
            share_gpu=share,
            gpu_bytes=GIB,
        )
    )


def rest(server: Job, wakes: str, by: str = "", gigabytes: int = 1) -> None:
    names = slots_of(server)
    with queue.locked():
        giving_way.rest(server, Resting(names, gigabytes * GIB, wakes, by))  # type: ignore[arg-type]  # one of its words


def slots_of(server: Job) -> list[str]:
    return list(first(server, "started")["slots"])


def held(*names: str) -> list[str]:
    return [job.id for job in slots.taken_by(list(names))]


@pytest.mark.parametrize("choice", ["", "wait", "share"])
def test_what_is_not_said_is_asked_and_what_is_said_is_done(
    machine: Machine, choice: BesideServer
) -> None:
    machine.has(79_000)
    server, run = serving("gpu"), running(choice)
    waiting = wait_for(
        lambda: next((event for event in run.events() if event["kind"] == "waiting"), None)
    )
    assert waiting["waits_for"] == f"{server.short_id} on gpu-0"
    # a run that is to share must be planned for it first
    assert waiting.get("servers") == (None if choice == "wait" else [server.id])
    assert giving_way.wish_of(server) is None


def test_a_run_that_may_share_runs_beside_it(machine: Machine) -> None:
    machine.has(79_000)
    server, run = serving("gpu"), running("share", share=True)
    in_state(run, Running)
    assert sorted(held("gpu-0")) == sorted([server.id, run.id])


def test_the_setting_is_followed_while_it_waits(machine: Machine, home: Path) -> None:
    machine.has(79_000)
    server, run = serving("gpu"), running("")
    wait_for(lambda: any("servers" in event for event in run.events()))
    (home / "config.toml").write_text(f'{SETTING} = "sleep"\n')
    assert wait_for(lambda: giving_way.wish_of(server)) == Wish("rest", run.id)
    assert "to go to sleep" in wait_for(
        lambda: (
            isinstance(state := run.state(), Queued)
            and "sleep" in state.waits_for
            and state.waits_for
        )
    )


def test_a_damaged_setting_asks(machine: Machine, home: Path) -> None:
    home.mkdir()
    (home / "config.toml").write_text(f'{SETTING} = "perhaps"\n[')
    assert giving_way.beside_server(spec("well")) == ""
    (home / "config.toml").write_text(f'{SETTING} = "perhaps"\n')
    assert giving_way.beside_server(spec("well")) == ""


def test_it_has_its_slots_again_behind_the_runs_and_before_the_rest(machine: Machine) -> None:
    machine.has(79_000)
    server = serving("gpu")
    run, proof = running("wait"), jobs.submit(spec("steps", slots=["gpu"]))
    wait_for(lambda: len(queue.waiting()) == 2)
    rest(server, "after runs")
    in_state(run, Running)
    # both are runs here: it stands behind the last one
    wait_for(lambda: [job.id for job in queue.waiting()] == [proof.id, server.id])
    rest(server, "first")
    assert [job.id for job in queue.waiting()] == [server.id, proof.id]
    jobs.stop(run)
    wait_for(lambda: held("gpu-0") == [server.id])
    assert giving_way.resting(server) is None and isinstance(proof.state(), Queued)
    wait_for(
        lambda: (
            [event["kind"] for event in events(server) if event["kind"].startswith("slots_")]
            == ["slots_freed", "slots_taken"]
        )
    )


def test_one_that_rests_for_good_has_nothing_until_it_says_so(machine: Machine) -> None:
    machine.has(79_000)
    server = serving("gpu")
    rest(server, "no")
    wait_for(lambda: held("gpu-0") == [])
    assert queue.waiting() == []
    machine.has(500)
    rest(server, "first", gigabytes=2)  # what it had is not free yet
    wait_for(lambda: [job.id for job in queue.waiting()] == [server.id])
    machine.has(79_000)
    wait_for(lambda: held("gpu-0") == [server.id])


def test_it_rests_until_the_run_that_asked_has_all_that_it_needs(machine: Machine) -> None:
    machine.has(79_000, 79_000)
    server, other = serving("gpu-0"), serving("gpu-1")
    run = running("sleep", "gpu", "gpu")
    wait_for(lambda: giving_way.wish_of(server) and giving_way.wish_of(other))
    rest(server, "after runs", by=run.id)
    wait_for(lambda: held("gpu-0") == [])
    queue.wake([server, run])
    assert held("gpu-0") == [] and isinstance(run.state(), Queued)
    jobs.stop(other)
    in_state(run, Running)
    jobs.stop(run)
    wait_for(lambda: held("gpu-0") == [server.id])


def test_one_that_does_not_sleep_is_named_with_its_reason(machine: Machine) -> None:
    machine.has(79_000)
    server, run = serving("gpu"), running("sleep")
    wait_for(lambda: giving_way.wish_of(server))
    giving_way.ask(server, Wish("rest", run.id, refused="no room in main memory"))
    said = f"{server.short_id}, which did not go to sleep: no room in main memory"
    wait_for(lambda: isinstance(state := run.state(), Queued) and state.waits_for == said)
    assert [event["kind"] for event in events(run)].count("asked_to_sleep") == 1


def test_what_was_asked_meanwhile_is_not_taken_for_done(machine: Machine) -> None:
    machine.has(79_000)
    server = serving("gpu")
    giving_way.ask(server, Wish("rest", "a-run"))
    done = giving_way.wish_of(server)
    assert done is not None
    giving_way.ask(server, Wish("wake"))
    giving_way.grant(server, done)
    assert giving_way.wish_of(server) == Wish("wake")
    giving_way.grant(server, Wish("wake"))
    assert giving_way.wish_of(server) is None


def test_a_new_attempt_begins_without_what_was_asked_of_the_last(machine: Machine) -> None:
    machine.has(79_000)
    server = serving("gpu")
    rest(server, "no")
    giving_way.ask(server, Wish("wake"))
    jobs.stop(server)
    assert jobs.wait(server, 25)
    assert giving_way.wish_of(server) is None and giving_way.resting(server) is None
