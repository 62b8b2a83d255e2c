"""A real vLLM, served by Luthier's own job: keys, chat, adapters, and every way to end."""

from __future__ import annotations

import asyncio
import http.client
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from bench.load import judged, load, usage
from jobs.luthier_error import LuthierError
from models.adapters import MustBeMerged
from serve.asking import ask_all
from serve.client import (
    Delta,
    Finished,
    Sampling,
    list_models,
    load_adapter,
    prompt_log_probabilities,
    stream_chat,
    tokenize,
    unload_adapter,
)
from serve.guard import CLIENT_PATHS, CLIENT_ROUTES
from serve.key_files import client_key, control_key
from serve.launch import attach, detach, pin, serve, unpin
from serve.servers import Server, current_server
from tests.real.conftest import free_port, vllm_pid, worker_and_below
from tests.real.random_adapter import write_random_adapter
from tests.serve.attacks import opened
from tui.serve.snippets import LANGUAGES, Language, snippet

pytestmark = [pytest.mark.real, pytest.mark.timeout(300)]

QUESTION = [{"role": "user", "content": "What is the capital of France?"}]
GREEDY = Sampling(temperature=0.0, max_tokens=16)


def request(
    server: Server,
    method: str,
    path: str,
    key: str | None = None,
    headers: dict[str, str] | None = None,
) -> int:
    """The status of one request, its path sent as it is."""
    connection = http.client.HTTPConnection(server.host, server.port, timeout=30)
    try:
        authorization = {} if key is None else {"Authorization": f"Bearer {key}"}
        connection.request(
            method,
            path,
            body=b"{}" if method == "POST" else None,
            headers={**authorization, **(headers or {})},
        )
        return connection.getresponse().status
    finally:
        connection.close()


def routes(server: Server) -> list[tuple[str, str]]:
    """Every route that vLLM itself says it has, in its log and in /openapi.json, with parameters
    filled in."""
    log = server.job.log_path.read_text(errors="replace")
    logged = re.findall(r"Route: (/\S*), Methods: (\S.*)", log)
    found = {(method.strip(), path) for path, methods in logged for method in methods.split(",")}
    connection = http.client.HTTPConnection(server.host, server.port, timeout=30)
    connection.request("GET", "/openapi.json", headers={"Authorization": f"Bearer {control_key()}"})
    described = connection.getresponse().read().decode()
    assert '"/v1/chat/completions"' in described
    found |= {("POST", path) for path in re.findall(r'"(/[a-z0-9_/{}]+)":\{"', described)}
    return sorted((method, re.sub(r"\{\w+\}", "x", path)) for method, path in found)


async def ask(server: Server, model: str, sampling: Sampling = GREEDY) -> tuple[str, Finished]:
    pieces = [piece async for piece in stream_chat(server.endpoint, model, QUESTION, sampling)]
    finished = pieces[-1]
    assert isinstance(finished, Finished)
    return "".join(piece.text for piece in pieces if isinstance(piece, Delta)), finished


_seen: dict[str, int] = {}


def logged(server: Server, count: int) -> list[dict[str, Any]]:
    """The lines of the request log since the last call, once there are so many: a line is written
    after its answer has ended."""
    path, seen = server.job.directory / "requests.jsonl", _seen.get(server.job.id, 0)
    deadline = time.monotonic() + 5
    while len(lines := path.read_text().splitlines() if path.exists() else []) < seen + count:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    _seen[server.job.id] = len(lines)
    return [json.loads(line) for line in lines[seen:]]


def client(server: Server) -> Any:
    """The official client."""
    from openai import OpenAI

    return OpenAI(base_url=f"{server.base_url}/v1", api_key=client_key())


def test_server_is_listed_with_its_models(
    server: Server, builtin_model: Path, random_adapter: Path
) -> None:
    assert current_server().job.id == server.job.id
    assert [(model.id, model.kind, model.path) for model in server.models] == [
        ("base", "base", builtin_model),
        ("builtin", "base", builtin_model),
        ("noisy", "adapter", random_adapter),
    ]
    phases = [event["name"] for event in server.job.events() if event["kind"] == "phase"]
    assert phases == [
        "starting vLLM",
        "reading the model's config",
        "starting the engine",
        "loading the weights",
        "warming up",
        "loading adapter noisy",
        "ready",
    ]


def test_every_route_asks_for_a_key(server: Server) -> None:
    found = routes(server)
    assert len(found) > 30
    assert {
        "/invocations",
        "/tokenize",
        "/metrics",
        "/docs",
        "/openapi.json",
        "/v1/load_lora_adapter",
    } <= {path for _, path in found}
    for method, path in found:
        assert request(server, method, path) == 401, (method, path)
        assert request(server, method, path, key="wrong-key-wrong-key") == 401, (method, path)
        if (method, path) not in CLIENT_ROUTES:
            assert request(server, method, path, key=client_key()) == (
                405 if path in CLIENT_PATHS else 403
            ), (method, path)
    for method, path in (
        ("GET", "/models"),
        ("POST", "/chat/completions"),
        ("POST", "/v1/embeddings"),
        ("GET", "/"),
    ):
        assert request(server, method, path, key=client_key()) == 404, (method, path)
    assert (
        request(
            server,
            "OPTIONS",
            "/v1/chat/completions",
            headers={"Origin": "http://x", "Access-Control-Request-Method": "POST"},
        )
        == 401
    )


@pytest.mark.parametrize(
    "path",
    [
        "//v1/load_lora_adapter",
        "/v1/models/../load_lora_adapter",
        "/v1/%6coad_lora_adapter",
        "/v1/models/",
        "/V1/models",
        "/v1/models;x",
        "/nowhere",
    ],
)
def test_other_spellings_open_nothing_for_the_client_key(server: Server, path: str) -> None:
    closed = 403 if "%6c" in path else 404  # only one of them is a route
    assert request(server, "POST", path) == 401
    assert request(server, "POST", path, key=client_key()) == closed
    assert request(server, "GET", path, key=client_key()) == closed


def test_nothing_else_comes_back_without_a_key(server: Server) -> None:
    """Every route of its own list, with odd methods, other spellings and headers of all kinds."""
    assert opened(server, routes(server)) == []


def test_websockets_need_a_key(server: Server) -> None:
    for path in ("/v1/realtime", "/", "/v1/chat/completions"):
        for key, status in ((None, b"401"), (client_key(), b"403")):
            handshake = (
                f"GET {path} HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection:"
                " Upgrade\r\nSec-WebSocket-Version: 13\r\n"
            )
            handshake += "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n" + (
                f"Authorization: Bearer {key}\r\n" if key else ""
            )
            with socket.create_connection((server.host, server.port), timeout=10) as connection:
                connection.sendall(f"{handshake}\r\n".encode())
                assert connection.recv(4096).split(b" ")[1] == status, (path, key)


def test_client_key_opens_what_clients_need(server: Server) -> None:
    for method, path in sorted(CLIENT_ROUTES):
        assert request(server, method, path, key=client_key()) not in (401, 403, 404), (
            method,
            path,
        )


def test_keys_stay_secret(server: Server) -> None:
    keys = (client_key().encode(), control_key().encode())
    for pid in worker_and_below(server.job):
        assert not any(key in Path(f"/proc/{pid}/cmdline").read_bytes() for key in keys)
    for key in (client_key(), control_key()):
        for good in (None, client_key(), control_key()):
            request(server, "GET", f"/version?api_key={key}", key=good)
            request(server, "GET", f"/{key}/v1/models", key=good)
    # what is logged is the route alone
    assert "GET /version HTTP" in server.job.log_path.read_text()
    for path in server.job.directory.iterdir():
        assert not any(key in path.read_bytes() for key in keys), path


def test_openai_client_chats_with_base_and_adapter(server: Server) -> None:
    from openai import AuthenticationError, OpenAI

    client = OpenAI(base_url=f"{server.base_url}/v1", api_key=client_key())
    answers = {}
    for model in ("base", "builtin", "noisy"):
        logged(server, 0)
        whole = client.chat.completions.create(
            model=model, messages=QUESTION, temperature=0, max_tokens=16
        )
        stream = client.chat.completions.create(
            model=model, messages=QUESTION, temperature=0, max_tokens=16, stream=True
        )
        answers[model] = whole.choices[0].message.content
        chunks = list(stream)
        assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == answers[model]
        # nobody asked for it
        assert (chunks[-1].usage, chunks[-1].system_fingerprint) == (None, whole.system_fingerprint)
        one, other = logged(server, 2)
        counts = ("prompt_tokens", "completion_tokens")
        assert (
            [one[name] for name in counts]
            == [other[name] for name in counts]
            == [getattr(whole.usage, name) for name in counts]
        )
    assert "Paris" in answers["base"]
    assert answers["base"] == answers["builtin"] != answers["noisy"]
    with pytest.raises(AuthenticationError, match="not one of this server's keys"):
        OpenAI(base_url=f"{server.base_url}/v1", api_key="wrong").models.list()


def test_openai_client_gets_logprobs_several_answers_stops_and_seeds(server: Server) -> None:
    asked = {"model": "base", "messages": QUESTION, "temperature": 0, "max_tokens": 12}
    chats = client(server).chat.completions
    told = chats.create(**asked, logprobs=True, top_logprobs=3).choices[0]
    assert len(told.logprobs.content) > 3
    assert all(
        len(token.top_logprobs) == 3 and token.logprob <= 0 for token in told.logprobs.content
    )
    assert len(chats.create(**{**asked, "temperature": 1.0}, n=3).choices) == 3
    stopped = chats.create(**asked, stop=["Paris"]).choices[0]
    assert stopped.finish_reason == "stop" and "Paris" not in stopped.message.content
    sampled = {**asked, "temperature": 1.5, "max_tokens": 20}
    first, again, other = (
        chats.create(**sampled, seed=seed).choices[0].message.content for seed in (7, 7, 8)
    )
    assert first == again != other
    usage = [
        chunk.usage
        for chunk in chats.create(**asked, stream=True, stream_options={"include_usage": True})
    ]
    assert not any(usage[:-1]) and usage[-1].completion_tokens <= 12


def test_openai_client_completes(server: Server) -> None:
    completions = client(server).completions
    logged(server, 0)
    whole = completions.create(
        model="base", prompt="The capital of France is", max_tokens=4, temperature=0
    )
    stream = completions.create(
        model="base", prompt="The capital of France is", max_tokens=4, temperature=0, stream=True
    )
    assert "".join(chunk.choices[0].text for chunk in stream) == whole.choices[0].text
    assert [line["completion_tokens"] for line in logged(server, 2)] == [4, 4]
    assert "Paris" in whole.choices[0].text
    both = completions.create(
        model="base", prompt=["One, two,", "A, b,"], max_tokens=3, temperature=0
    )
    assert [choice.index for choice in both.choices] == [0, 1]


def test_openai_client_is_given_a_tool_call(server: Server) -> None:
    """A model of this size calls no tool by itself; asked for one by name, it must."""
    parameters = {
        "type": "object",
        "properties": {"city": {"type": "string", "enum": ["Paris", "Rome"]}},
        "required": ["city"],
    }
    tool = {
        "type": "function",
        "function": {"name": "weather", "description": "The weather.", "parameters": parameters},
    }
    chosen = {"type": "function", "function": {"name": "weather"}}
    asked = {
        "model": "base",
        "messages": QUESTION,
        "temperature": 0,
        "max_tokens": 100,
        "tools": [tool],
        "tool_choice": chosen,
    }
    (call,) = client(server).chat.completions.create(**asked).choices[0].message.tool_calls
    assert call.function.name == "weather"
    # of what shape is the model's affair: vLLM binds it only where the tool is strict
    assert json.loads(call.function.arguments)


def test_a_prompts_log_probabilities_do_not_end_the_engine(server: Server) -> None:
    """Beside any other request they would, on a CPU: the guard lets them in alone."""
    tokens = asyncio.run(
        tokenize(
            server.endpoint,
            {"model": "base", "prompt": "The quick brown fox jumps over the lazy dog. " * 8},
        )
    )

    async def together() -> list[Any]:
        talk = Sampling(temperature=0.0, max_tokens=40)
        chats = [ask(server, model, talk) for model in ("base", "noisy")]
        return await asyncio.gather(
            *chats, *(prompt_log_probabilities(server.endpoint, "base", tokens) for _ in range(4))
        )

    answers = asyncio.run(together())
    assert all(len(likelihoods) == len(tokens) for likelihoods in answers[2:])
    assert "Paris" in answers[0][0] and vllm_pid(server.job)


@pytest.mark.parametrize("language", LANGUAGES)
def test_examples_of_the_app_work(
    server: Server, luthier_home: Path, tmp_path: Path, language: Language
) -> None:
    example = snippet(language, server.base_url, "base", luthier_home / "keys" / "client").replace(
        "Hello!", "What is the capital of France?"
    )
    briefly = {
        "curl": ('"temperature": 0.7,', '"temperature": 0, "max_tokens": 12,'),
        "python": ("temperature=0.7,", "temperature=0, max_tokens=12,"),
        "llm": ("temperature 0.7", "temperature 0 -o max_tokens 12"),
    }
    example = example.replace(*briefly[language])
    command = [sys.executable, "-c", example] if language == "python" else ["bash", "-euc", example]
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "LLM_USER_PATH": str(tmp_path)}  # the home of llm
    # the built-in model's file comes in one of its plugins, which wants llama.cpp
    environment["LLM_LOAD_PLUGINS"] = ""
    answer = subprocess.run(
        command, capture_output=True, text=True, env=environment, timeout=120, check=False
    )
    assert "Paris" in answer.stdout, answer.stderr


def test_own_client_streams_and_tells_how_it_ended(server: Server) -> None:
    text, finished = asyncio.run(ask(server, "base"))
    assert "Paris" in text
    assert finished.reason == "stop"
    assert finished.prompt_tokens > 10
    assert finished.completion_tokens > 3
    assert finished.time_to_first_token is not None
    assert finished.time_to_first_token < finished.seconds


def test_comparison_asks_every_model(server: Server) -> None:
    answers = asyncio.run(
        ask_all(server.endpoint, ["base", "noisy", "absent"], [QUESTION, QUESTION], GREEDY)
    )
    assert [(answer.prompt, answer.model) for answer in answers] == [
        (i, model) for i in (0, 1) for model in ("base", "noisy", "absent")
    ]
    assert answers[0].text == answers[3].text
    assert answers[2].error is not None
    assert "absent" in answers[2].error.message


def test_base_is_base_beside_tuned_models_in_every_slot(
    server: Server, random_adapter: Path
) -> None:
    """vLLM on a CPU gave the base model's tokens the adapter in the last slot
    (serve.vllm_plugin)."""
    alone = asyncio.run(ask_all(server.endpoint, ["base"], [QUESTION], GREEDY))[0].text
    names = [f"slot{number}" for number in range(int(server.job.spec.settings["max_loras"]))]
    try:
        for name in names:
            asyncio.run(load_adapter(server.control_endpoint, name, random_adapter))
            asyncio.run(
                ask_all(
                    server.endpoint, [name], [QUESTION], Sampling(temperature=0.0, max_tokens=1)
                )
            )
        beside = asyncio.run(ask_all(server.endpoint, ["base", *names], [QUESTION], GREEDY))
        assert beside[0].text == alone
        assert {answer.text for answer in beside[1:]} == {beside[1].text} and beside[
            1
        ].text != alone
    finally:
        for name in names:
            asyncio.run(unload_adapter(server.control_endpoint, name))


def test_closing_the_stream_cancels_the_request_and_what_came_is_counted(server: Server) -> None:
    async def hang_up() -> int:
        pieces = 0
        stream = stream_chat(
            server.endpoint, "noisy", QUESTION, Sampling(temperature=1.0, max_tokens=3000)
        )
        async for _ in stream:
            pieces += 1
            if pieces == 5:
                break
        await stream.aclose()
        return pieces

    logged(server, 0)
    pieces = asyncio.run(hang_up())
    deadline = time.monotonic() + 5
    while running(server) > 0:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    (line,) = logged(server, 1)
    prompt = asyncio.run(tokenize(server.endpoint, {"model": "noisy", "messages": QUESTION}))
    assert line["broken_off"] and line["prompt_tokens"] == len(prompt)
    assert pieces <= line["completion_tokens"] < 100


def running(server: Server) -> float:
    connection = http.client.HTTPConnection(server.host, server.port, timeout=30)
    connection.request("GET", "/metrics", headers={"Authorization": f"Bearer {client_key()}"})
    found = re.search(
        r"^vllm:num_requests_running\{.*\} (\S+)$",
        connection.getresponse().read().decode(),
        re.MULTILINE,
    )
    assert found is not None
    return float(found[1])


def test_an_unknown_model_is_answered_with_all_names_and_an_answer_is_as_long_as_it_can_be(
    server: Server,
) -> None:
    with pytest.raises(LuthierError, match="no model 'absent'"):
        asyncio.run(ask(server, "absent"))
    assert (
        asyncio.run(ask(server, "base", Sampling(temperature=0.0, max_tokens=1_000_000)))[1].reason
        == "stop"
    )
    with pytest.raises(LuthierError, match="temperature"):  # vLLM's own words
        asyncio.run(ask(server, "base", Sampling(temperature=-1.0)))


def test_adapters_come_and_go_while_it_runs(
    server: Server, builtin_model: Path, tmp_path: Path
) -> None:
    adapter = write_random_adapter(tmp_path / "other", builtin_model, rank=16, seed=2)
    attach(server, "other", adapter)
    assert "other" in [model.id for model in server.refreshed().models]
    assert asyncio.run(ask(server, "other"))[0] != asyncio.run(ask(server, "base"))[0]
    with pytest.raises(LuthierError, match="name is taken"):
        attach(server, "other", adapter)
    asyncio.run(unload_adapter(server.control_endpoint, "other"))
    assert "other" not in asyncio.run(list_models(server.endpoint))


def test_an_adapter_is_pinned_and_one_that_was_moved_out_and_deleted_is_told(
    server: Server, builtin_model: Path, random_adapter: Path, tmp_path: Path
) -> None:
    lost = write_random_adapter(tmp_path / "lost", builtin_model, rank=4, seed=3)
    before = asyncio.run(list_models(server.endpoint))
    pin(server, "noisy")
    attach(server, "lost", lost)
    # as many as stay in memory: `lost` is moved out
    names = [f"other{number}" for number in range(8)]
    for number, name in enumerate(names):
        folder = write_random_adapter(tmp_path / name, builtin_model, rank=1, seed=number)
        asyncio.run(load_adapter(server.control_endpoint, name, folder))
    shutil.rmtree(lost)
    with pytest.raises(LuthierError, match="was deleted"):
        asyncio.run(ask(server, "lost"))
    assert asyncio.run(ask(server, "noisy"))[0]
    for name in names[1:]:
        asyncio.run(unload_adapter(server.control_endpoint, name))
    detach(server, names[0])
    unpin(server, "noisy")
    assert asyncio.run(ask(server, "noisy"))[0]  # read again
    assert asyncio.run(list_models(server.endpoint)) == before


def test_adapters_that_do_not_fit_are_refused(
    server: Server, builtin_model: Path, tmp_path: Path
) -> None:
    stranger = write_random_adapter(tmp_path / "stranger", builtin_model, width=64)
    with pytest.raises(LuthierError, match="another model"):
        attach(server, "stranger", stranger)
    with pytest.raises(LuthierError, match="another model"):
        serve("builtin", [("stranger", stranger, None)], port=free_port())
    big = write_random_adapter(tmp_path / "big", builtin_model, rank=32)
    with pytest.raises(LuthierError, match="ranks up to 16"):
        attach(server, "big", big)
    with pytest.raises(LuthierError, match="No adapter found"):
        asyncio.run(load_adapter(server.control_endpoint, "absent", tmp_path / "absent"))
    assert "Paris" in asyncio.run(ask(server, "base"))[0]


def test_dora_is_refused_by_vllm_and_before_by_luthier(
    server: Server, random_adapter: Path, tmp_path: Path
) -> None:
    """If a vLLM takes it one day, models.adapters need not refuse it any more."""
    dora = tmp_path / "dora"
    shutil.copytree(random_adapter, dora)
    config = json.loads((dora / "adapter_config.json").read_text())
    (dora / "adapter_config.json").write_text(json.dumps({**config, "use_dora": True}))
    with pytest.raises(LuthierError, match="does not yet support DoRA"):
        asyncio.run(load_adapter(server.control_endpoint, "dora", dora))
    with pytest.raises(MustBeMerged, match="use_dora"):
        attach(server, "dora", dora)
    assert "dora" not in asyncio.run(list_models(server.endpoint))


def test_second_server_needs_a_port_of_its_own(server: Server) -> None:
    with pytest.raises(LuthierError, match="Already served"):
        serve("builtin", [])
    with pytest.raises(LuthierError, match="port is taken"):
        serve("builtin", [], port=server.port)


def test_many_clients_stream_at_once(server: Server) -> None:
    """64 for a while, which leaves nothing; `python -m bench.load` does it for a minute."""
    pid = vllm_pid(server.job)
    asyncio.run(load(server.endpoint, ["base", "noisy"], pid, 8, 1.0, 2))
    before = usage(pid)
    figures, looks = asyncio.run(load(server.endpoint, ["base", "noisy"], pid, 64, 9.0, 4))
    time.sleep(3.0)
    told = judged(before, looks, usage(pid), figures, 9.0)
    print(json.dumps(told))
    assert told["problems"] == []
    assert running(server) == 0
