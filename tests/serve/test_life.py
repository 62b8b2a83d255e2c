"""A server's life as a job, with a vLLM that has no model behind the real guard: restarts, stops,
adapters that come, go and vanish."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from jobs import processes
from jobs.job import Job, stop, submit, wait
from jobs.luthier_error import LuthierError
from jobs.spec import Spec
from jobs.state import Done, Failed, Queued, Running, Starting, Stopped
from serve import launch, vllm_command
from serve.client import Delta, Sampling, post, stream_chat
from serve.keeping import claim
from serve.launch import attach, detach, pin, serve, unpin
from serve.planning import NamedAdapter, ServeOptions
from serve.servers import Server, running_servers
from tests.serve.conftest import write_adapter
from workshop.servers import add_adapters

pytestmark = [pytest.mark.heavy, pytest.mark.timeout(90)]
FAKE_HOME = Path(__file__).parents[1] / "fakes" / "vllm_home"

Starter = Callable[..., Server]


@pytest.fixture
def start(base: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Starter]:
    """Starts servers of `base` and stops them after the test."""
    monkeypatch.setenv("PYTHONPATH", f"{FAKE_HOME}:{Path(__file__).parents[2]}")
    monkeypatch.setenv("FAKE_RATE", "100")
    monkeypatch.setattr(launch, "vllm_module", lambda: "")
    started: list[Job] = []

    def begin(*adapters: NamedAdapter, ready: bool = True, **options: object) -> Server:
        options = {"device": "cpu", **options}
        started.append(serve(base, list(adapters), options=ServeOptions(**options)))  # type: ignore[arg-type]
        until(lambda: isinstance(started[-1].state(), Running if ready else Failed), started[-1])
        return running_servers()[0] if ready else Server(started[-1], "", 0, [])

    yield begin
    for job in started:
        stop(job)
        stop(job)
        assert wait(job, 30.0)


def until(true: Callable[[], bool], job: Job, seconds: float = 40.0) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, f"{job.state()}\n{job.log_path.read_text()[-3000:]}"
        time.sleep(0.05)


async def say(server: Server, model: str, words: int = 5) -> str:
    question = [{"role": "user", "content": "hello there"}]
    pieces = stream_chat(server.endpoint, model, question, Sampling(max_tokens=words))
    return "".join([piece.text async for piece in pieces if isinstance(piece, Delta)])


def crash(server: Server) -> None:
    with pytest.raises(LuthierError):
        asyncio.run(post(server.control_endpoint, "/fake/crash", {}))


def events(server: Server, kind: str) -> list[dict[str, object]]:
    return [event for event in server.job.events() if event["kind"] == kind]


def test_after_a_crash_it_serves_again_what_it_served(
    start: Starter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    captain, mate = write_adapter(tmp_path / "captain"), write_adapter(tmp_path / "mate", rank=2)
    server = start(("captain", captain, None))
    attach(server, "mate", mate)
    pin(server, "mate")
    until(lambda: any(model.pinned for model in server.refreshed().models), server.job)
    crash(server)
    until(lambda: isinstance(server.job.state(), Starting), server.job)
    until(lambda: isinstance(server.job.state(), Running), server.job)
    (restart,) = events(server, "restart")
    assert restart["number"] == 1 and "the engine is dead" in str(restart["reason"])
    assert [
        (model.id, model.pinned) for model in server.refreshed().models if model.kind == "adapter"
    ] == [
        ("captain", False),
        ("mate", True),
    ]
    assert asyncio.run(say(server, "mate")).startswith("mate says hello")


def test_one_that_fails_at_its_start_is_not_started_again(
    start: Starter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_FAULT", "start")
    server = start(ready=False)
    state = server.job.state()
    assert isinstance(state, Failed)
    assert state.title == "vLLM ended" and "no room for this model" in state.message
    assert events(server, "restart") == []


def test_a_forked_engine_that_cannot_use_the_gpu_is_started_without_a_fork(
    start: Starter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_FAULT", "fork")
    monkeypatch.setenv("VLLM_WORKER_MULTIPROC_METHOD", "fork")
    server = start()
    assert "vLLM starts again without a fork" in server.job.log_path.read_text()
    assert events(server, "restart") == []
    assert asyncio.run(say(server, "base")).startswith("base says hello")


def test_one_that_a_certificate_left_ends_when_somebody_needs_the_gpu_and_nobody_came(
    start: Starter,
) -> None:
    claimed = start(kept_by="20261122-1530-captain-7f3a")
    claim(claimed.job)
    waiting = submit(Spec(kind="run", name="waits", module="trainer.worker", slots=["gpu"]))
    try:
        until(lambda: isinstance(waiting.state(), Queued), waiting)
        time.sleep(7.0)
        assert isinstance(claimed.job.state(), Running)
        (claimed.job.directory / "claimed").unlink()
        until(lambda: isinstance(claimed.job.state(), Done), claimed.job)
        assert "another job needs the GPU" in str(events(claimed, "result"))
    finally:
        stop(waiting)
        assert wait(waiting, 20.0)


def test_a_stop_lets_answers_finish_and_takes_no_new_ones(start: Starter) -> None:
    server = start()
    supervisor = server.job.supervisor()
    assert supervisor is not None
    pids = processes.descendants(supervisor)

    async def stop_in_the_middle() -> tuple[str, str]:
        long = asyncio.create_task(say(server, "base", 300))
        await asyncio.sleep(0.5)
        stop(server.job)
        await asyncio.sleep(1.0)
        with pytest.raises(LuthierError) as refusal:
            await say(server, "base")
        return await long, refusal.value.message

    text, refused = asyncio.run(stop_in_the_middle())
    assert len(text.split()) == 300
    assert "accepts no new requests" in refused
    assert wait(server.job, 20.0)
    assert isinstance(server.job.state(), Stopped)
    assert not set(pids) & set(processes.parents())


def test_kill_9_of_the_worker_leaves_nothing(start: Starter) -> None:
    server = start()
    supervisor = server.job.supervisor()
    assert supervisor is not None
    pids = processes.descendants(supervisor)
    worker = next(int(str(event["pid"])) for event in events(server, "started"))
    processes.send_signal(worker, signal.SIGKILL)
    assert wait(server.job, 20.0)
    assert not set(pids) & set(processes.parents())


def test_adapters_come_go_and_are_pinned(start: Starter, tmp_path: Path) -> None:
    server = start(max_loras=2)
    for name in ("captain", "mate"):
        assert attach(server, name, write_adapter(tmp_path / name)) == name
    pin(server, "captain")
    with pytest.raises(LuthierError, match="one slot must stay free"):
        pin(server, "mate")
    unpin(server, "captain")
    pin(server, "mate")
    detach(server, "mate")
    pin(server, "captain")  # the place of the one that went is free again
    assert [model.id for model in server.refreshed().models if model.kind == "adapter"] == [
        "captain"
    ]
    for name, reason in (("mate", "not one of its models"), ("base", "stays")):
        with pytest.raises(LuthierError, match=reason):
            detach(server, name)


def test_other_content_gets_another_name(start: Starter, tmp_path: Path) -> None:
    """vLLM's prefix cache goes by name and path: what it cached for the old content would answer
    for the new one."""
    server = start()
    folder = write_adapter(tmp_path / "captain", rank=4)
    assert attach(server, "captain", folder) == "captain"
    detach(server, "captain")
    assert attach(server, "captain", folder) == "captain"
    detach(server, "captain")
    shutil.rmtree(folder)
    write_adapter(folder, rank=2)
    name = attach(server, "captain", folder)
    assert name.startswith("captain.") and len(name) == len("captain.") + 8


def test_of_two_runs_with_one_name_the_second_goes_by_its_id(
    start: Starter, tmp_path: Path
) -> None:
    server = start(("captain", write_adapter(tmp_path / "one"), None))
    run = "20261118-0003-captain-00ff"
    again: NamedAdapter = ("captain", write_adapter(tmp_path / "two"), run)
    assert add_adapters(
        server.refreshed(), [again, ("captain@40", write_adapter(tmp_path / "three"), run)]
    ) == [run, "captain@40"]
    assert add_adapters(
        server.refreshed(), [again, ("captain@40", write_adapter(tmp_path / "four"), run)]
    ) == [f"{run}@40"]


def test_an_adapter_that_is_written_anew_while_it_is_served_never_answers_under_the_old_name(
    start: Starter, tmp_path: Path
) -> None:
    """A run that was resumed: vLLM holds the old weights, and may read the new ones under the old
    name at any time."""
    folder = write_adapter(tmp_path / "captain", rank=4)
    server = start(("captain", folder, None))
    assert add_adapters(server, [("captain", folder, None)]) == []
    (folder / "adapter_model.safetensors").touch()  # the same content
    time.sleep(1.5)
    assert asyncio.run(say(server, "captain")).startswith("captain says")
    shutil.rmtree(folder)
    write_adapter(folder, rank=2)
    (added,) = add_adapters(server.refreshed(), [("captain", folder, None)])
    assert added.startswith("captain.") and len(added) == len("captain.") + 8
    assert [model.id for model in server.refreshed().models if model.kind == "adapter"] == [added]
    shutil.rmtree(folder)
    write_adapter(folder, rank=1)  # and nobody loads it again
    until(lambda: all(model.kind == "base" for model in server.refreshed().models), server.job)


def test_a_deleted_adapter_is_told_and_never_reaches_the_engine(
    start: Starter, tmp_path: Path
) -> None:
    folder = write_adapter(tmp_path / "captain")
    server = start(("captain", folder, None))
    shutil.rmtree(folder)
    with pytest.raises(LuthierError, match=r"its folder .* was deleted"):
        asyncio.run(say(server, "captain"))
    until(lambda: all(model.id != "captain" for model in server.refreshed().models), server.job)
    assert any("unloaded it" in str(event["message"]) for event in events(server, "adapter"))
    assert asyncio.run(say(server, "base")).startswith("base says")


def test_a_prompts_log_probabilities_are_asked_alone_on_a_cpu(start: Starter) -> None:
    """The fake engine, as the real one, dies if they meet another request."""
    server = start()

    async def all_at_once() -> list[object]:
        prompts = [post(server.endpoint, "/v1/completions", ask(number)) for number in range(6)]
        return await asyncio.gather(*(say(server, "base", 30) for _ in range(6)), *prompts)

    def ask(number: int) -> dict[str, object]:
        return {
            "model": "base",
            "prompt": f"{number} words",
            "prompt_logprobs": 0,
            "max_tokens": 1 + number,
        }

    assert len(asyncio.run(all_at_once())) == 12
    for more in ({"n": 2}, {"prompt": ["a", "b"]}, {"best_of": 3}, {"use_beam_search": True}):
        with pytest.raises(LuthierError, match="one prompt and one answer"):
            asyncio.run(post(server.endpoint, "/v1/completions", {**ask(1), **more}))
    assert isinstance(server.job.state(), Running)


@pytest.mark.parametrize("content", [False, True])
def test_requests_are_logged_with_counts(start: Starter, content: bool) -> None:
    server = start(log_content=content)
    path = server.job.directory / "requests.jsonl"
    asyncio.run(say(server, "base", 7))
    # it is written after the answer
    until(lambda: path.exists() and len(path.read_text().splitlines()) == 1, server.job)
    with pytest.raises(LuthierError):
        asyncio.run(say(server, "a secret model"))
    until(lambda: len(path.read_text().splitlines()) == 2, server.job)
    answered, refused = (json.loads(line) for line in path.read_text().splitlines())
    assert (
        answered["model"],
        answered["status"],
        answered["prompt_tokens"],
        answered["completion_tokens"],
    ) == ("base", 200, 4, 7)
    assert 0 < answered["first"] < answered["seconds"]
    assert (refused["model"], refused["status"]) == ("", 404)
    assert path.stat().st_mode & 0o077 == 0
    assert ("hello there" in path.read_text()) == content
    assert content or set(answered) == {
        *(
            "t",
            "kind",
            "route",
            "model",
            "status",
            "stream",
            "prompt_tokens",
            "completion_tokens",
            "broken_off",
            "first",
            "seconds",
        )
    }
    assert "hello there" not in server.job.log_path.read_text()


def test_an_answer_that_its_reader_breaks_off_is_counted_as_far_as_it_came(start: Starter) -> None:
    server = start()
    path = server.job.directory / "requests.jsonl"

    async def hang_up() -> None:
        pieces = stream_chat(
            server.endpoint,
            "base",
            [{"role": "user", "content": "hello there"}],
            Sampling(max_tokens=2000),
        )
        for _ in range(5):
            await anext(pieces)
        await pieces.aclose()

    asyncio.run(hang_up())
    until(lambda: path.exists() and path.read_text().endswith("\n"), server.job)
    line = json.loads(path.read_text())
    assert (line["prompt_tokens"], line["broken_off"]) == (4, True)
    assert 5 <= line["completion_tokens"] < 200


def test_what_a_client_asks_too_much_of_is_cut_or_refused_in_luthiers_words(
    start: Starter, tmp_path: Path
) -> None:
    """A client that always sends tools, asks for 8,192 tokens, or for a model of another server."""
    server = start(("captain", write_adapter(tmp_path / "captain"), None), context_length=32)
    tools = [
        {
            "type": "function",
            "function": {"name": "tide", "parameters": {"type": "object", "properties": {}}},
        }
    ]
    chat = {
        "model": "captain",
        "messages": [{"role": "user", "content": "hello there"}],
        "tools": tools,
    }

    def ask(**more: object) -> str:
        answer = asyncio.run(
            post(server.endpoint, "/v1/chat/completions", {**chat, "max_tokens": 4, **more})
        )
        return str(answer["choices"][0]["message"]["content"])

    assert ask() == ask(tool_choice="auto") == "captain says hello there"
    assert len(ask(max_tokens=8192).split()) == 32
    for more, words in (
        ({"tool_choice": "required"}, "luthier serve --tool-parser NAME"),
        (
            {"tool_choice": {"type": "function", "function": {"name": "tide"}}},
            "luthier serve --tool-parser NAME",
        ),
        ({"model": "gpt-4o"}, "no model 'gpt-4o'. It has: base, tiny, captain."),
    ):
        with pytest.raises(LuthierError, match=re.escape(words)):
            ask(**more)


def test_the_fake_is_found_as_the_real_one_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(FAKE_HOME))
    monkeypatch.delitem(sys.modules, "vllm", raising=False)
    assert vllm_command.vllm_module() == "vllm.entrypoints.launchers.api_server.entry"
