"""Chat through the API, from a fake server over a real socket: names, streams, and servers that
break."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from serve.key_files import client_key
from tests.fakes.openai_server import FakeServer, Fault
from tests.workshop.api.routes import Client, client_of
from workshop.api.chat import Target, Targets, _renamed
from workshop.api.plan import ApiPlan

pytestmark = pytest.mark.heavy

TUNED = "ft:builtin:luthier:mate:20261129-0713-8754"


@pytest.fixture
def server() -> Iterator[FakeServer]:
    with FakeServer() as started:
        started.tokens_per_second = 2000
        yield started


@dataclass
class Finder:
    """Finds the fake server; the first `dead` times a port where nobody listens."""

    server: FakeServer
    looked_for: list[str] = field(default_factory=list)
    dead: int = 0

    def find(self, targets: Targets, model: str) -> Target:
        self.looked_for.append(model)
        self.dead -= 1
        url = "http://127.0.0.1:1" if self.dead >= 0 else self.server.endpoint.base_url
        target = Target(url, self.server.endpoint.key, "base")
        targets._known[model] = (float("inf"), target)
        return target


@pytest.fixture
def finder(server: FakeServer, monkeypatch: pytest.MonkeyPatch) -> Finder:
    finder = Finder(server)
    monkeypatch.setattr(Targets, "find", lambda targets, model: finder.find(targets, model))
    return finder


@pytest.fixture
def client(home: object, finder: Finder, monkeypatch: pytest.MonkeyPatch) -> Iterator[Client]:
    with client_of(ApiPlan("127.0.0.1", 8123), monkeypatch) as opened:
        yield opened


def ask(client: Client, **fields: Any) -> Any:
    body = {"model": TUNED, "messages": [{"role": "user", "content": 'Say "model":"base"'}]}
    return client.ask("POST", "/chat/completions", client_key(), json={**body, **fields})


def events(text: str) -> list[Any]:
    lines = (line.removeprefix("data: ") for line in text.splitlines() if line.startswith("data: "))
    return [json.loads(line) for line in lines if line != "[DONE]"]


@given(cuts=st.lists(st.integers(0, 400), max_size=12))
def test_an_answer_has_the_name_that_was_asked_for_however_it_is_cut(cuts: list[int]) -> None:
    said = 'Say \\"model\\":\\"base\\"'
    lines = [
        f'data: {{"id":"c1","model":"base","choices":[{{"delta":{{"content":"{said}"}}}}]}}'
        for _ in range(3)
    ]
    sent = "\n\n".join([*lines, "data: [DONE]", ""]).encode()
    edges = [0, *sorted(min(cut, len(sent)) for cut in cuts), len(sent)]
    pieces = [sent[start:end] for start, end in pairwise(edges)]

    async def stream() -> AsyncIterator[bytes]:
        for piece in pieces:
            yield piece

    async def received() -> bytes:
        answer = httpx.Response(200, content=stream())
        return b"".join([piece async for piece in _renamed(answer, "base", TUNED)])

    assert asyncio.run(received()) == sent.replace(b'"model":"base"', f'"model":"{TUNED}"'.encode())


def test_a_stream_comes_as_it_is_said(client: Client, server: FakeServer) -> None:
    answer = ask(client, stream=True)
    assert answer.headers["content-type"].startswith("text/event-stream")
    pieces = [piece["choices"][0]["delta"] for piece in events(answer.text) if piece["choices"]]
    assert (
        "".join(piece.get("content") or "" for piece in pieces) == 'base says: Say "model":"base"'
    )
    assert answer.text.rstrip().endswith("[DONE]")
    assert server.requests[-1]["model"] == "base"


def test_what_a_request_says_beside_its_model_is_passed_on(
    client: Client, server: FakeServer
) -> None:
    ask(client, stream=True, temperature=0.3, tools=[{"type": "function"}], odd={"a": [1]})
    sent = server.requests[-1]
    assert (sent["temperature"], sent["odd"]) == (0.3, {"a": [1]})


@pytest.mark.parametrize(
    ("fault", "status"), [("unauthorized", 401), ("bad_request", 400), ("garbage", 200)]
)
def test_a_servers_own_refusal_is_passed_back(
    fault: Fault, status: int, client: Client, server: FakeServer
) -> None:
    server.fault = fault
    assert ask(client, stream=True).status_code == status


@pytest.mark.parametrize("fault", ["drop", "no_done", "stream_error", "half_event"])
def test_a_stream_that_breaks_ends(fault: Fault, client: Client, server: FakeServer) -> None:
    server.fault = fault
    answer = ask(client, stream=True)
    assert answer.status_code == 200
    assert "data: " in answer.text


def test_a_server_that_is_gone_is_looked_for_once_more(client: Client, finder: Finder) -> None:
    finder.dead = 1
    assert ask(client, stream=True).status_code == 200
    assert ask(client, stream=True).status_code == 200
    assert finder.looked_for == [TUNED, TUNED]


def test_nobody_who_answers_is_a_503_that_says_when_to_ask(client: Client, finder: Finder) -> None:
    finder.dead = 2
    gone = ask(client, stream=True)
    assert (gone.status_code, gone.json()["error"]["code"]) == (503, "model_not_loaded")
    assert gone.headers["retry-after"] == "15"


def test_a_body_that_is_too_large_is_refused(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workshop.api.app._LONGEST_CHAT", 1000)
    answer = ask(client, user="x" * 2000)
    assert (answer.status_code, answer.json()["error"]["code"]) == (413, "request_too_large")
