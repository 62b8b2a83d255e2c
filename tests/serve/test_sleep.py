"""One GPU for everything: a server that sleeps while runs train, through the real supervisors,
queue, worker and guard. vLLM has no model, and nvidia-smi says what the test wants."""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from jobs import giving_way, processes, queue, slots
from jobs import job as jobs
from jobs.job import Job
from jobs.luthier_error import LuthierError
from jobs.spec import Spec
from jobs.state import Asleep, Queued, Running, Starting
from serve import sleeper
from serve.client import post
from serve.key_files import client_key, control_key
from serve.launch import attach
from serve.servers import Server, running_servers
from serve.sleep import check_sleeps, put_to_sleep, wake
from serve.vllm_command import command, environment
from tests.jobs.acting import (
    end_everything,
    events,
    first,
    in_state,
    kill_supervisor,
    spec,
    wait_for,
)
from tests.jobs.test_slots import Machine
from tests.serve.attacks import ask, opened
from tests.serve.conftest import write_adapter
from tests.serve.test_life import FAKE_HOME, Starter, say, start

pytestmark = [pytest.mark.heavy, pytest.mark.timeout(90)]
__all__ = ["start"]
CHECKOUT = Path(__file__).parents[2]


@pytest.fixture
def server(start: Starter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """A server that has the machine's only GPU."""
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setenv("PYTHONPATH", f"{FAKE_HOME}:{CHECKOUT}:{CHECKOUT / 'tests' / 'fakes'}")
    Machine(tmp_path).has(79_000)
    yield start(("captain", write_adapter(tmp_path / "captain"), None), device="gpu")
    for job in jobs.all_jobs("run", "certify"):
        end_everything(job)


def train(conduct: str = "steps", beside: str = "sleep", **fields: object) -> Job:
    return jobs.submit(spec(conduct, slots=["gpu"], beside_server=beside, **fields))


def has_gpu() -> list[str]:
    return [job.spec.kind for job in slots.taken_by(["gpu-0"])]


def kinds(job: Job) -> list[str]:
    return [event["kind"] for event in events(job)]


def fault(server: Server, name: str) -> None:
    asyncio.run(post(server.control_endpoint, "/fake/sleep", {"fault": name}))


def test_it_sleeps_while_a_run_trains_and_wakes_when_the_run_ends(server: Server) -> None:
    assert has_gpu() == ["server"]
    run = train()
    in_state(run, Running)
    state = in_state(server.job, Asleep)
    assert isinstance(state, Asleep) and state.why == f"{run.short_id} (run) needs the GPU"
    assert has_gpu() == ["run"] and first(run, "asked_to_sleep")["server"] == server.job.id
    assert [one.job.id for one in running_servers()] == [server.job.id]

    wait_for(lambda: "uses the GPU" in told(server))
    with pytest.raises(LuthierError) as refusal:
        asyncio.run(say(server, "captain"))
    assert refusal.value.title == "The server is asleep"
    assert (
        refusal.value.message
        == f"The server sleeps while {run.short_id} (run) uses the GPU, and wakes afterwards."
    )
    status, _ = ask(
        server,
        "POST",
        "/v1/chat/completions",
        [f"Authorization: Bearer {client_key()}"],
        b'{"model": "base"}',
    )
    assert status == 503
    with pytest.raises(LuthierError, match="uses the GPU"):
        attach(server, "mate", write_adapter(server.job.directory / "mate"))

    jobs.stop(run)
    in_state(server.job, Running)
    assert has_gpu() == ["server"]
    assert asyncio.run(say(server, "captain")).startswith("captain says hello")
    assert sorted(kind for kind in kinds(server.job) if kind in LIFE) == sorted(LIFE)


LIFE = {"asleep", "slots_freed", "slots_taken", "waking", "awake"}


def told(server: Server) -> str:
    _, body = ask(server, "GET", "/luthier/server", [f"Authorization: Bearer {control_key()}"])
    return str(json.loads(body)["resting"])


def test_an_answer_is_finished_first(server: Server) -> None:
    async def talk() -> str:
        long = asyncio.create_task(say(server, "base", 200))
        await asyncio.sleep(0.4)
        run = await asyncio.to_thread(train)
        answer = await long
        await asyncio.to_thread(in_state, run, Running)
        return answer

    assert len(asyncio.run(talk()).split()) == 200


def test_a_stop_while_answers_are_finished_lets_them_finish(server: Server) -> None:
    async def talk() -> str:
        long = asyncio.create_task(say(server, "base", 300))
        await asyncio.sleep(0.4)
        giving_way.ask(server.job, giving_way.Wish("rest"))
        await asyncio.to_thread(wait_for, lambda: told(server))
        assert jobs.stop(server.job)
        return await long

    assert len(asyncio.run(talk()).split()) == 300
    assert jobs.wait(server.job, 25) and "asleep" not in kinds(server.job)


def test_who_asks_a_server_that_somebody_put_to_sleep_waits_for_it_to_wake(server: Server) -> None:
    put_to_sleep(server.job)
    wait_for(lambda: has_gpu() == [])
    assert asyncio.run(say(server, "captain")).startswith("captain says")
    in_state(server.job, Running)
    put_to_sleep(server.job)
    wake(server.job)
    # a run that is not waiting any more
    giving_way.ask(server.job, giving_way.Wish("rest", by="20261122-0000-gone-0000"))
    wait_for(lambda: giving_way.wish_of(server.job) is None)
    assert isinstance(server.job.state(), Running) and has_gpu() == ["server"]


def test_two_runs_train_one_after_the_other_before_it_wakes(server: Server) -> None:
    one, two = train(), train()
    in_state(one, Running)
    in_state(server.job, Asleep)
    jobs.stop(one)
    in_state(two, Running)
    assert isinstance(server.job.state(), Asleep)
    jobs.stop(two)
    in_state(server.job, Running)
    assert kinds(server.job).count("asleep") == 1


def test_server_that_is_asked_wakes_before_the_next_run_and_stays_awake_during_a_chat(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = train(), train()
    in_state(one, Running)
    in_state(server.job, Asleep)
    with pytest.raises(LuthierError):
        asyncio.run(say(server, "captain"))
    wait_for(
        lambda: (rests := giving_way.resting(server.job)) is not None and rests.wakes == "first"
    )
    jobs.stop(one)
    in_state(server.job, Running)
    wait_for(lambda: giving_way.wish_of(server.job))
    assert asyncio.run(say(server, "captain")).startswith("captain says")
    assert isinstance(two.state(), Queued) and isinstance(server.job.state(), Running)


def test_what_follows_a_run_is_made_when_nobody_talks_to_the_server(server: Server) -> None:
    """A certificate is queued as the run ends: the server wakes first."""
    follows = Spec(
        kind="certify",
        name="proof",
        module="fake_worker",
        settings={"conduct": "well"},
        slots=["gpu"],
        beside_server="sleep",
    )
    run = train("well", then=[vars(follows)])
    assert jobs.wait(run, 25)
    in_state(server.job, Running)
    (proof,) = jobs.all_jobs("certify")
    assert isinstance(proof.state(), Queued)
    wait_for(lambda: (wish := giving_way.wish_of(server.job)) and wish.by == proof.id)
    assert sleeper.QUIET_SECONDS == 60


def test_the_answer_is_remembered_as_a_setting_and_followed_at_once(
    server: Server, luthier_home: Path
) -> None:
    run = train(beside="")
    wait_for(lambda: any("servers" in event for event in run.events()))
    (luthier_home / "config.toml").write_text(f'{giving_way.SETTING} = "sleep"\n')
    in_state(run, Running)
    assert isinstance(server.job.state(), Asleep)


@pytest.mark.parametrize(
    ("how", "says"),
    [("refuse", "the allocator has no sleep"), ("lie", "vLLM reports that it is still awake.")],
)
def test_one_that_does_not_sleep_serves_on_and_the_run_says_so(
    server: Server, how: str, says: str
) -> None:
    fault(server, how)
    run = train()
    wait_for(lambda: isinstance(state := run.state(), Queued) and says in state.waits_for)
    assert first(server.job, "sleep_refused")["by"] == run.id
    assert asyncio.run(say(server, "captain")).startswith("captain says")
    with pytest.raises(LuthierError, match=says):
        put_to_sleep(server.job)


@pytest.mark.parametrize(
    ("how", "says"),
    [("changed", "gives a different answer than before"), ("never wakes", "CUDA out of memory")],
)
def test_one_that_does_not_wake_as_it_was_is_started_anew(
    server: Server, how: str, says: str
) -> None:
    fault(server, how)
    put_to_sleep(server.job)
    giving_way.ask(server.job, giving_way.Wish("wake"))
    restart = wait_for(
        lambda: next((event for event in events(server.job) if event["kind"] == "restart"), None)
    )
    assert says in restart["reason"]
    in_state(server.job, Running)
    assert has_gpu() == ["server"]
    assert asyncio.run(say(server, "captain")).startswith("captain says")


def test_a_vllm_that_dies_in_its_sleep_is_started_again_when_the_gpu_is_free(
    server: Server,
) -> None:
    run = train()
    in_state(run, Running)
    in_state(server.job, Asleep)
    (vllm,) = processes.descendants(first(server.job, "started")["pid"])
    processes.send_signal(vllm, signal.SIGKILL)
    wait_for(
        lambda: any(
            event["kind"] == "phase" and "waiting for the GPU" in event["name"]
            for event in events(server.job)
        )
    )
    assert has_gpu() == ["run"] and isinstance(server.job.state(), Starting)
    jobs.stop(run)
    in_state(server.job, Running)
    assert has_gpu() == ["server"] and asyncio.run(say(server, "captain")).startswith(
        "captain says"
    )


@pytest.mark.parametrize("whom", ["the run's supervisor", "the run's worker"])
def test_a_run_that_is_killed_gives_the_gpu_back(server: Server, whom: str) -> None:
    run = train()
    in_state(run, Running)
    in_state(server.job, Asleep)
    if whom == "the run's supervisor":
        kill_supervisor(run)
    else:
        processes.send_signal(first(run, "started")["pid"], signal.SIGKILL)
    in_state(server.job, Running)
    assert has_gpu() == ["server"]


@pytest.mark.parametrize("whom", ["the supervisor", "the worker"])
def test_a_server_that_is_killed_in_its_sleep_leaves_nothing(server: Server, whom: str) -> None:
    run = train()
    in_state(run, Running)
    in_state(server.job, Asleep)
    supervisor = server.job.supervisor()
    assert supervisor is not None
    pids = processes.descendants(supervisor)
    if whom == "the supervisor":
        kill_supervisor(server.job)
    else:
        processes.send_signal(first(server.job, "started")["pid"], signal.SIGKILL)
    wait_for(lambda: not set(pids) & set(processes.parents()))
    wait_for(lambda: not server.job.alive())
    assert isinstance(run.state(), Running)
    assert [job.id for job in queue.waiting()] == []
    jobs.stop(run)
    wait_for(lambda: has_gpu() == [])


def test_sleeping_needs_the_control_key_and_is_luthiers_to_say(server: Server) -> None:
    routes = [
        ("POST", "/sleep"),
        ("POST", "/wake_up"),
        ("GET", "/is_sleeping"),
        ("POST", "/luthier/rest"),
    ]
    assert opened(server, routes) == []
    for method, path in routes:
        for spelled in (
            path,
            f"/{path}",
            f"/health/..{path}",
            f"{path}/",
            path.upper(),
            f"{path}?level=1",
        ):
            status = 403 if spelled.partition("?")[0] == path else 404
            assert (
                ask(server, method, spelled, [f"Authorization: Bearer {client_key()}"])[0] == status
            ), spelled
    assert (
        ask(server, "POST", "/sleep?level=1", [f"Authorization: Bearer {control_key()}"])[0] == 409
    )
    assert ask(server, "GET", "/is_sleeping", [f"Authorization: Bearer {control_key()}"]) == (
        200,
        b'{"is_sleeping":false}',
    )


def test_on_a_cpu_it_is_never_put_to_sleep(start: Starter) -> None:
    server = start()
    with pytest.raises(LuthierError, match="for GPUs"):
        put_to_sleep(server.job)
    with pytest.raises(LuthierError, match="for GPUs"):
        check_sleeps(server.job)
    assert "--enable-sleep-mode" not in command(
        server.plan, "python"
    ) and "VLLM_SERVER_DEV_MODE" not in environment(server.plan, "id")
    for path in ("/sleep", "/wake_up", "/is_sleeping"):
        assert ask(server, "POST", path, [f"Authorization: Bearer {control_key()}"])[0] in (
            404,
            409,
        )
    assert not server.job.spec.gives_way
