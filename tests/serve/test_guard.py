"""The guard, asked as vLLM's server asks it: one ASGI scope at a time."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.routing import Route

from serve.guard import (
    CLIENT_PATHS,
    CLIENT_ROUTES,
    CONTROL_ONLY,
    NO_KEY,
    WRONG_KEY,
    Guard,
    bearer_key,
    wrong_method,
)
from serve.traffic import Scope

CLIENT, CONTROL = "client-key-for-tests", "control-key-for-tests"


class Application:
    """Remembers what reached it."""

    def __init__(self) -> None:
        self.reached: list[Scope] = []

    async def __call__(self, scope: Scope, receive: Any, send: Any) -> None:
        self.reached.append(scope)


@pytest.fixture(scope="module", autouse=True)
def keys() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LUTHIER_CLIENT_KEY", CLIENT)
        patch.setenv("LUTHIER_CONTROL_KEY", CONTROL)
        patch.setenv("LUTHIER_SERVER_ID", "20261122-0000-captain-0000")
        yield


def http(method: str, path: str, key: str | None = None) -> dict[str, Any]:
    headers = [] if key is None else [(b"authorization", f"Bearer {key}".encode())]
    return {"type": "http", "method": method, "path": path, "headers": headers}


def ask(scope: dict[str, Any]) -> tuple[bool, list[Any]]:
    """Whether the application was reached, and what the guard sent."""
    application, sent = Application(), []

    async def receive() -> dict[str, Any]:
        return {"type": "websocket.connect"}

    async def send(message: Any) -> None:
        sent.append(message)

    asyncio.run(Guard(application)(scope, receive, send))
    return bool(application.reached), sent


paths = st.one_of(
    st.text(),
    st.sampled_from(sorted(path for _, path in CLIENT_ROUTES)),
    st.sampled_from(
        [
            "/v1/load_lora_adapter",
            "/invocations",
            "/docs",
            "/openapi.json",
            "/",
            "",
            "/luthier/server",
        ]
    ),
    st.builds(
        "{}{}{}".format,
        st.sampled_from(["", "/", "//", "/x/..", "."]),
        st.sampled_from(["/v1/models", "/health"]),
        st.text(max_size=3),
    ),
)
methods = st.sampled_from(
    ["GET", "POST", "HEAD", "OPTIONS", "PUT", "DELETE", "PATCH", "get", "CONNECT"]
)


@given(
    method=methods,
    path=paths,
    headers=st.lists(st.tuples(st.binary(max_size=20), st.binary(max_size=60))),
)
def test_nothing_passes_without_a_key(
    method: str, path: str, headers: list[tuple[bytes, bytes]]
) -> None:
    for kind in ("http", "websocket"):
        reached, sent = ask(
            {
                "type": kind,
                "method": method,
                "path": path,
                "headers": headers,
                "extensions": {"websocket.http.response": {}},
            }
        )
        assert not reached
        assert sent[0]["status"] == 401


@given(method=methods, path=paths)
def test_client_key_opens_the_list_and_nothing_else(method: str, path: str) -> None:
    guard = Guard(Application())
    closed = wrong_method(path) if path in CLIENT_PATHS else CONTROL_ONLY
    assert guard.check(http(method, path, CLIENT)) == (
        None if (method, path) in CLIENT_ROUTES else closed
    )
    assert guard.check({**http(method, path, CLIENT), "type": "websocket"}) == CONTROL_ONLY
    assert guard.check(http(method, path, CONTROL)) is None


@given(key=st.text(st.characters(codec="ascii", exclude_categories=["C"])))
def test_a_wrong_key_opens_nothing(key: str) -> None:
    if key.strip() not in (CLIENT, CONTROL):
        assert Guard(Application()).check(http("GET", "/health", key)) == (
            WRONG_KEY if key.strip() else NO_KEY
        )


@pytest.mark.parametrize(
    "path",
    [
        "/health/",
        "//health",
        "/HEALTH",
        "/health%20",
        "/%68ealth",
        "/v1/models/..",
        "/v1//models",
        "/v1/chat/completions/batch",
        "/health\x00",
    ],
)
def test_other_spellings_are_not_on_the_list(path: str) -> None:
    for method in ("GET", "POST"):
        assert Guard(Application()).check(http(method, path, CLIENT)) == CONTROL_ONLY


@pytest.mark.parametrize(
    ("headers", "key"),
    [
        ([], None),
        ([(b"authorization", b"Bearer abc")], b"abc"),
        ([(b"Authorization", b"bearer  abc ")], b"abc"),
        ([(b"authorization", b"Basic abc")], None),
        ([(b"authorization", b"abc")], None),
        ([(b"authorization", b"Bearer")], None),
        ([(b"authorization", b"Bearer ")], None),
        ([(b"authorization", b"Bearer a"), (b"authorization", b"Bearer a")], None),
        ([(b"x-api-key", b"abc")], b"abc"),
    ],
)
def test_bearer_key(headers: list[tuple[bytes, bytes]], key: bytes | None) -> None:
    assert bearer_key(headers) == key


def test_refusals_have_the_shape_of_openai_errors() -> None:
    reached, (start, body) = ask(http("POST", "/v1/chat/completions"))
    assert not reached
    assert start["status"] == 401
    assert dict(start["headers"])[b"www-authenticate"] == b"Bearer"
    assert int(dict(start["headers"])[b"content-length"]) == len(body["body"])
    error = json.loads(body["body"])["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert "API key" in error["message"]
    assert ask(http("POST", "/v1/load_lora_adapter", CLIENT))[1][0]["status"] == 403


def test_websocket_without_the_extension_is_closed() -> None:
    reached, sent = ask({"type": "websocket", "path": "/v1/realtime", "headers": []})
    assert not reached
    assert sent == [{"type": "websocket.close", "code": 1008, "reason": NO_KEY.message}]


def test_lifespan_passes_and_unknown_protocols_do_not() -> None:
    assert ask({"type": "lifespan"})[0]
    assert not ask({"type": "webtransport", "path": "/", "headers": []})[0]


def test_identity_is_told_to_the_control_key_alone() -> None:
    reached, (start, body) = ask(http("GET", "/luthier/server", CONTROL))
    assert not reached
    told = {
        "id": "20261122-0000-captain-0000",
        "in_flight": 0,
        "draining": False,
        "pinned": [],
        "resting": "",
        "wanted": False,
    }
    answer = json.loads(body["body"])
    assert answer.pop("quiet_seconds") >= 0
    assert (start["status"], answer) == (200, told)
    assert ask(http("GET", "/luthier/server", CLIENT))[1][0]["status"] == 403


@pytest.mark.parametrize(
    ("client", "control"), [("", ""), (CLIENT, ""), (CLIENT, CLIENT), ("short", CONTROL)]
)
def test_it_does_not_start_without_two_good_keys(
    monkeypatch: pytest.MonkeyPatch, client: str, control: str
) -> None:
    monkeypatch.setenv("LUTHIER_CLIENT_KEY", client)
    monkeypatch.setenv("LUTHIER_CONTROL_KEY", control)
    with pytest.raises(ValueError, match="two different keys"):
        Guard(Application())


def requests_of(guard: Guard, *scopes: dict[str, Any]) -> list[int]:
    """The statuses that these get at once; 0 where vLLM was reached."""

    async def one(scope: dict[str, Any]) -> int:
        sent: list[Any] = []

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": scope.get("body", b"")}

        async def send(message: Any) -> None:
            sent.append(message)

        await guard(scope, receive, send)
        return int(sent[0]["status"]) if sent else 0

    async def all_of_them() -> list[int]:
        return await asyncio.gather(*(one(scope) for scope in scopes))

    return asyncio.run(all_of_them())


def rest(why: str, hold: bool = False) -> dict[str, Any]:
    return {
        **http("POST", "/luthier/rest", CONTROL),
        "body": json.dumps({"why": why, "hold": hold}).encode(),
    }


@given(method=methods, path=paths)
def test_nothing_that_needs_the_engine_reaches_a_sleeping_one(method: str, path: str) -> None:
    guard = Guard(Application())
    _, status = requests_of(guard, rest("It sleeps."), http(method, path, CLIENT))
    if (method, path) not in CLIENT_ROUTES:
        assert status == (405 if path in CLIENT_PATHS else 403)
        return
    assert status == (0 if method == "GET" or path.endswith("tokenize") else 503)


def test_adapters_are_not_loaded_into_a_sleeping_engine_and_sleep_is_refused_to_others() -> None:
    guard = Guard(Application())
    adapters = ("/v1/load_lora_adapter", "/v1/unload_lora_adapter", "/luthier/pin")
    paths = (*adapters, "/collective_rpc", "/reset_prefix_cache", "/sleep", "/wake_up")
    assert requests_of(guard, http("POST", "/sleep", CONTROL)) == [409]
    statuses = requests_of(
        guard, rest("It sleeps."), *(http("POST", path, CONTROL) for path in paths)
    )
    assert statuses == [200, 503, 503, 409, 503, 503, 0, 0]


def test_a_request_waits_for_an_engine_that_wakes_and_not_for_one_whose_gpu_is_taken() -> None:
    guard = Guard(Application())
    question = http("POST", "/v1/chat/completions", CLIENT)
    assert requests_of(guard, rest("It wakes.", hold=True), question, question, rest("")) == [
        200,
        0,
        0,
        200,
    ]
    guard = Guard(Application())
    assert requests_of(guard, rest("It wakes.", hold=True), question, rest("A run trains.")) == [
        200,
        503,
        200,
    ]
    guard = Guard(Application())
    assert requests_of(
        guard, rest("It wakes.", hold=True), question, http("POST", "/luthier/drain", CONTROL)
    ) == [200, 503, 200]


def with_routes(*paths: str) -> Any:
    """The application that a scope names: vLLM's, with these routes."""
    return SimpleNamespace(routes=[Route(path, Application()) for path in paths])


@given(method=methods, path=paths)
def test_with_the_client_key_only_what_is_there_asks_for_the_control_key(
    method: str, path: str
) -> None:
    guard, app = (
        Guard(Application()),
        with_routes("/v1/load_lora_adapter", "/docs", "/collective_rpc"),
    )
    refusal = guard.check({**http(method, path, CLIENT), "app": app})
    if (method, path) in CLIENT_ROUTES:
        assert refusal is None
        return
    assert refusal is not None
    there = (
        path in ("/v1/load_lora_adapter", "/docs", "/collective_rpc") or path == "/luthier/server"
    )
    elsewhere = 403 if there else 404
    assert refusal.status == (405 if path in CLIENT_PATHS else elsewhere)
    assert ("control key" in refusal.message) == there


@pytest.mark.parametrize(
    ("method", "path", "words"),
    [
        ("GET", "/models", "Addresses begin with /v1: GET /v1/models."),
        ("POST", "/chat/completions", "POST /v1/chat/completions"),
        (
            "POST",
            "/v1/rerank",
            "No such route: POST /v1/rerank. This server has /detokenize",
        ),
        ("GET", "/v1/chat/completions", "accepts only POST"),
        ("POST", "/v1/embeddings", "chat models, which make no embeddings"),
    ],
)
def test_a_mistyped_address_is_put_right(method: str, path: str, words: str) -> None:
    refusal = Guard(Application()).check(
        {**http(method, path, CLIENT), "app": with_routes("/v1/load_lora_adapter")}
    )
    assert refusal is not None and words in refusal.message and "control key" not in refusal.message


def test_what_uvicorn_logs_has_no_query_and_no_key_and_vllm_still_gets_both() -> None:
    for key in (CLIENT, CONTROL, "anothers-secret"):
        for headers in ([], [(b"authorization", f"Bearer {CONTROL}".encode())]):
            path = f"/v1/{CLIENT}/models"
            scope = {
                "type": "http",
                "method": "GET",
                "path": path,
                "query_string": f"key={key}&level=1".encode(),
                "headers": headers,
            }
            application = Application()
            asyncio.run(Guard(application)(scope, _nothing, _nowhere))
            assert (scope["path"], scope["query_string"]) == ("/v1/[key]/models", b"")
            assert [(one["path"], one["query_string"][-7:]) for one in application.reached] == [
                (path, b"level=1")
            ] * len(headers)


async def _nothing() -> dict[str, Any]:
    return {}


async def _nowhere(message: Any) -> None:
    return None


PAGE, OTHER = b"http://localhost:3000", b"http://evil.example"


def from_page(scope: dict[str, Any], origin: bytes) -> dict[str, Any]:
    asked = [
        (b"Origin", origin),
        (b"access-control-request-method", b"POST"),
        (b"access-control-request-headers", b"authorization"),
    ]
    return {**scope, "headers": [*scope["headers"], *asked]}


@given(method=methods, path=paths, origin=st.sampled_from([PAGE, OTHER]))
def test_a_page_is_answered_without_a_key_only_whether_it_may_ask(
    method: str, path: str, origin: bytes
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LUTHIER_ALLOWED_ORIGINS", f"https://chat.example {PAGE.decode()}")
        reached, (start, body) = ask(from_page(http(method, path), origin))
    permitted = origin == PAGE and method == "OPTIONS" and path in CLIENT_PATHS
    assert not reached
    assert (start["status"], body["body"] == b"") == ((204, True) if permitted else (401, False))
    headers = dict(start["headers"])
    assert headers.get(b"access-control-allow-origin") == (PAGE if origin == PAGE else None)
    assert headers.get(b"access-control-allow-headers") == (b"authorization" if permitted else None)


def test_no_page_may_ask_unless_it_was_allowed() -> None:
    _, (start, _) = ask(from_page(http("OPTIONS", "/v1/chat/completions"), PAGE))
    assert start["status"] == 401 and b"access-control-allow-origin" not in dict(start["headers"])
