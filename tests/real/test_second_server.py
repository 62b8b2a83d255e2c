"""A second server of the real vLLM: a merged model, and every way to end."""

from __future__ import annotations

import http.client
import os
import signal
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import openai
import pytest

from jobs import processes
from jobs.job import Job, stop, submit, wait
from jobs.spec import Spec
from jobs.state import Failed, Lost, Queued, Starting, Stopped
from serve.key_files import client_key
from serve.launch import serve
from serve.planning import ServeOptions, make_plan
from serve.ports import is_free
from serve.servers import Server, running_servers
from tests.real.conftest import (
    TEXTS,
    assert_gone,
    free_port,
    vllm_pid,
    wait_until_running,
    worker_and_below,
)

pytestmark = [pytest.mark.real, pytest.mark.timeout(300)]

Start = Callable[[Job], Job]


@pytest.fixture
def cleaned_up() -> Iterator[Start]:
    """Names jobs that are stopped after the test, however it ends."""
    started: list[Job] = []

    def remember(job: Job) -> Job:
        started.append(job)
        return job

    yield remember
    for job in started:
        stop(job)
        wait(job, 40.0)


@pytest.fixture(scope="module")
def second(server: Server, merged: dict[str, Any], random_adapter: Path) -> Iterator[Server]:
    """Serves the merged model and, since it takes one as any model does, the adapter."""
    options = ServeOptions(allowed_origins=("http://localhost:3000",))
    job = serve(
        "noisy-merged", [("noisy", random_adapter, None)], port=free_port(), options=options
    )
    try:
        yield wait_until_running(job)
    finally:
        stop(job)
        assert wait(job, 60.0)


def log_probabilities(server: Server, model: str, text: str) -> list[float]:
    """Of each token of a text but the first, as a server computes them."""
    with openai.OpenAI(base_url=f"{server.base_url}/v1", api_key=client_key()) as client:
        answer = client.completions.create(
            model=model, prompt=text, max_tokens=1, echo=True, logprobs=1, temperature=0
        )
    assert answer.choices[0].logprobs is not None
    return [
        float(value)
        for value in (answer.choices[0].logprobs.token_logprobs or [])[1:-1]
        if value is not None
    ]


def test_a_merged_model_says_what_the_adapter_says(server: Server, second: Server) -> None:
    for text in TEXTS:
        asked = ((server, "base"), (server, "noisy"), (second, "base"))
        base, adapter, whole = (log_probabilities(where, name, text) for where, name in asked)
        moved = sum(abs(one - two) for one, two in zip(base, adapter, strict=True)) / len(base)
        apart = sum(abs(one - two) for one, two in zip(whole, adapter, strict=True)) / len(base)
        print(
            f"{text!r}: the adapter moves log-probabilities by {moved:.3f}, merging by {apart:.3f}"
        )
        assert apart < 0.05 * moved + 0.05


def test_a_client_that_always_sends_tools_is_answered_in_text(second: Server) -> None:
    """No parser is known for this model: vLLM would answer 400 and name flags of its own."""
    tool = {
        "type": "function",
        "function": {"name": "tide", "parameters": {"type": "object", "properties": {}}},
    }
    asked: dict[str, Any] = {
        "model": "noisy",
        "messages": [{"role": "user", "content": "When is high tide?"}],
        "tools": [tool],
    }
    with openai.OpenAI(
        base_url=f"{second.base_url}/v1", api_key=client_key(), max_retries=0
    ) as client:
        for more in ({}, {"tool_choice": "auto"}, {"tool_choice": "none"}):
            message = (
                client.chat.completions.create(**asked, **more, max_tokens=4).choices[0].message
            )
            assert message.content and not message.tool_calls
        with pytest.raises(openai.BadRequestError, match="--tool-parser NAME"):
            client.chat.completions.create(**asked, tool_choice="required", max_tokens=4)


def test_a_web_page_asks_from_an_origin_that_was_named_and_from_no_other(second: Server) -> None:
    def headers(method: str, path: str, origin: str, key: str = "") -> tuple[int, list[str]]:
        connection = http.client.HTTPConnection(second.host, second.port, timeout=30)
        asked = {
            "Origin": origin,
            "Access-Control-Request-Method": "POST",
            **({"Authorization": f"Bearer {key}"} if key else {}),
        }
        connection.request(method, path, headers=asked)
        answer = connection.getresponse()
        return answer.status, [
            value
            for name, value in answer.getheaders()
            if name.lower() == "access-control-allow-origin"
        ]

    page, other = "http://localhost:3000", "http://evil.example"
    assert headers("OPTIONS", "/v1/chat/completions", page) == (204, [page])
    assert headers("GET", "/v1/models", page, client_key()) == (200, [page])
    assert headers("GET", "/v1/models", page) == (401, [page])
    assert headers("OPTIONS", "/v1/load_lora_adapter", page) == (401, [page])
    assert headers("OPTIONS", "/v1/chat/completions", other) == (401, [])
    assert headers("GET", "/v1/models", other, client_key()) == (200, [])


def test_port_taken_between_check_and_start(builtin_model: Path, cleaned_up: Start) -> None:
    plan = make_plan(builtin_model, "builtin", [], "127.0.0.1", free_port(), ServeOptions())
    with socket.create_server(("127.0.0.1", plan.port)):
        job = cleaned_up(
            submit(Spec(kind="server", name="late", module="serve.worker", settings=plan.to_json()))
        )
        assert wait(job, 60.0)
    state = job.state()
    assert isinstance(state, Failed)
    assert state.title == "The port is taken"


def test_killed_stopped_and_started_again(
    server: Server, second: Server, cleaned_up: Start
) -> None:
    """Three servers on one port, one after the other: each shows that the one before left nothing
    behind."""
    victim, port, before = second, second.port, log_probabilities(second, "base", TEXTS[0])
    assert {other.job.id for other in running_servers()} == {server.job.id, victim.job.id}
    pids = processes.descendants(worker_and_below(victim.job)[1])  # below the worker
    os.kill(vllm_pid(victim.job), signal.SIGKILL)
    assert_gone(pids, 20.0)  # the engine, which holds the memory, too
    again = wait_until_running(victim.job)
    assert [model.id for model in again.models] == ["base", "noisy-merged", "noisy"]
    (restart,) = (event for event in victim.job.events() if event["kind"] == "restart")
    assert restart["number"] == 1 and "SIGKILL" in restart["reason"]
    assert log_probabilities(again, "base", TEXTS[0]) == pytest.approx(before, abs=0.05)
    pids = worker_and_below(victim.job)
    stop(victim.job)
    assert wait(victim.job, 30.0)
    assert isinstance(victim.job.state(), Stopped)
    assert_gone(pids, 1.0)
    assert is_free("127.0.0.1", port)
    assert [other.job.id for other in running_servers()] == [server.job.id]

    orphan = cleaned_up(serve("builtin", [], port=port))
    wait_for_phase(orphan, "starting the engine")  # vLLM has its port by then
    pids = worker_and_below(orphan)
    os.kill(pids[0], signal.SIGKILL)
    assert_gone(pids, 20.0)
    assert isinstance(orphan.state(), Lost)

    stopped = cleaned_up(serve("builtin", [], port=port))
    wait_for_phase(stopped, "reading the model's config")
    pids = worker_and_below(stopped)
    stop(stopped)
    assert wait(stopped, 30.0)
    assert isinstance(stopped.state(), Stopped)
    assert_gone(pids, 1.0)


def wait_for_phase(job: Job, phase: str) -> None:
    while not (isinstance(state := job.state(), Starting) and state.phase == phase):
        assert isinstance(state, Queued | Starting), state
        time.sleep(0.1)
