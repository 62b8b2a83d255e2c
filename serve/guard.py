"""The door of a server: no handler of vLLM is reached without a key, on HTTP or WebSocket.

vLLM loads `Guard` by `--middleware serve.guard.Guard`. It runs inside vLLM's process: standard
library only. The two keys come from the environment. The client key opens `CLIENT_ROUTES`,
everything else needs the control key. What may pass goes through `Traffic`.
"""

from __future__ import annotations

import hmac
import json
import os
from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from jobs import foreign_json
from serve.guard_asleep import RETRY_SECONDS, SLEEP_PATH, Rest
from serve.pins import Pins
from serve.traffic import GENERATING, Application, Message, Receive, Scope, Send, Traffic

CLIENT_KEY_VARIABLE = "LUTHIER_CLIENT_KEY"
CONTROL_KEY_VARIABLE = "LUTHIER_CONTROL_KEY"
SERVER_ID_VARIABLE = "LUTHIER_SERVER_ID"
MOST_PINS_VARIABLE = "LUTHIER_MOST_PINS"
ORIGINS_VARIABLE = "LUTHIER_ALLOWED_ORIGINS"

# The guard's own routes (control key). The first tells which server this is: a port alone may by
# now belong to another one with the same keys; and how many answers are being written. After
# `drain` nothing new is answered. `rest` says that vLLM sleeps, why, and whether it is about to
# wake.
IDENTITY_ROUTE = ("GET", "/luthier/server")
DRAIN_ROUTE = ("POST", "/luthier/drain")
PIN_ROUTE = ("POST", "/luthier/pin")
UNPIN_ROUTE = ("POST", "/luthier/unpin")
REST_ROUTE = ("POST", "/luthier/rest")
_OWN_PATHS = frozenset(
    path for _, path in (IDENTITY_ROUTE, DRAIN_ROUTE, PIN_ROUTE, UNPIN_ROUTE, REST_ROUTE)
)
_LONGEST_ORDER = 10_000  # bytes of what is sent to one of them

# Compared with the decoded path exactly as vLLM routes it: a spelling that is not listed needs the
# control key.
CLIENT_ROUTES = frozenset(
    {
        ("GET", "/health"),
        ("GET", "/metrics"),
        ("GET", "/v1/models"),
        ("POST", "/v1/chat/completions"),
        ("POST", "/v1/completions"),
        ("POST", "/v1/responses"),
        ("POST", "/v1/messages"),
        ("POST", "/v1/messages/count_tokens"),
        ("POST", "/tokenize"),
        ("POST", "/detokenize"),
    }
)


@dataclass(frozen=True)
class Refusal:
    """Why a request goes no further, in the shape of OpenAI's errors."""

    status: int
    message: str
    kind: str
    code: str

    def body(self) -> bytes:
        error = {"message": self.message, "type": self.kind, "param": None, "code": self.code}
        return json.dumps({"error": error}).encode()

    def headers(self) -> list[tuple[bytes, bytes]]:
        headers = [(b"content-type", b"application/json")]
        return [*headers, (b"www-authenticate", b"Bearer")] if self.status == 401 else headers


NO_KEY = Refusal(
    401,
    "This server requires an API key: send the header `Authorization: Bearer KEY`, or `x-api-key:"
    " KEY`.",
    "invalid_request_error",
    "missing_api_key",
)
WRONG_KEY = Refusal(
    401, "The API key is not one of this server's keys.", "invalid_request_error", "invalid_api_key"
)
CONTROL_ONLY = Refusal(
    403,
    "This route needs the control key, but you sent the client key.",
    "permission_error",
    "control_key_required",
)
NO_EMBEDDINGS = Refusal(
    404,
    "This server serves chat models, which make no embeddings. Ask a server of an embedding model.",
    "invalid_request_error",
    "no_embeddings",
)
_EMBEDDINGS = "/v1/embeddings"
_OPEN = frozenset(("http", method, path) for method, path in CLIENT_ROUTES)  # no websocket
CLIENT_PATHS = sorted({path for _, path in CLIENT_ROUTES})


def no_route(method: str, path: str) -> Refusal:
    """What is asked for is nowhere: no key would open it."""
    if f"/v1{path}" in CLIENT_PATHS:
        hint = f"Addresses begin with /v1: {method} /v1{path}. A client's base URL ends with /v1."
    else:
        hint = f"This server has {', '.join(CLIENT_PATHS)}. A client's base URL ends with /v1."
    return Refusal(
        404,
        f"No such route: {method} {path[:100]}. {hint}",
        "invalid_request_error",
        "no_such_route",
    )


def wrong_method(path: str) -> Refusal:
    methods = " or ".join(sorted(method for method, route in CLIENT_ROUTES if route == path))
    return Refusal(405, f"{path} accepts only {methods}.", "invalid_request_error", "wrong_method")


UNASKED = Refusal(
    409,
    "Use `luthier server sleep`: it also frees the GPU and rejects requests while the server is"
    " asleep.",
    "invalid_request_error",
    "sleep_by_luthier",
)
STOPPING = Refusal(
    503,
    "This server is stopping: it finishes its answers and accepts no new requests.",
    "server_error",
    "server_stopping",
)


class Guard:
    """Pure ASGI middleware. It does not start without two good keys."""

    def __init__(self, app: Application) -> None:
        self._rest = Rest()
        client, control = (
            os.environ.get(CLIENT_KEY_VARIABLE, ""),
            os.environ.get(CONTROL_KEY_VARIABLE, ""),
        )
        if min(len(client), len(control)) < 16 or client == control:
            raise ValueError(
                f"{CLIENT_KEY_VARIABLE} and {CONTROL_KEY_VARIABLE} must be two different keys of at"
                " least 16 characters"
            )
        self._keys = (client, control)
        self._traffic = Traffic(app, self._keys)
        self._client = sha256(client.encode()).digest()
        self._control = sha256(control.encode()).digest()
        self._id = os.environ.get(SERVER_ID_VARIABLE, "")
        self._origins = frozenset(os.environ.get(ORIGINS_VARIABLE, "").encode().split())
        self._pins = Pins(int(os.environ.get(MOST_PINS_VARIABLE, "0")))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._traffic(scope, receive, send)
            return
        logged, scope = scope, {**scope}  # the first is uvicorn's, which writes it into the log
        logged.update(query_string=b"", path=self._without_keys(str(scope.get("path"))))
        origin = _header(scope, b"origin")
        if scope["type"] == "http" and origin in self._origins:
            # a browser asks without a key whether it may ask
            if scope.get("method") == "OPTIONS" and scope.get("path") in CLIENT_PATHS:
                await _answer(send, "http", 204, b"", _permission(scope, origin))
                return
            send = _readable_from(origin, send)
        refusal = self.check(scope)
        if refusal is not None and scope["type"] == "websocket":
            await _refuse_websocket(refusal, scope, receive, send)
        elif refusal is not None:
            await _answer(send, "http", refusal.status, refusal.body(), refusal.headers())
        elif scope["type"] == "http" and str(scope.get("path")).startswith("/luthier/"):
            await self._obey(scope, receive, send)
        elif self._traffic.draining and scope.get("path") in GENERATING:
            await _answer(send, "http", STOPPING.status, STOPPING.body(), STOPPING.headers())
        elif scope.get("path") == SLEEP_PATH and not self._rest.why:
            await _answer(send, "http", UNASKED.status, UNASKED.body(), UNASKED.headers())
        elif (
            self._rest.concerns(scope.get("method"), scope.get("path"))
            and not self._is_probe(scope)
            and (why := await self._rest.over())
        ):
            asleep = Refusal(503, why, "server_error", "server_asleep")
            await _answer(
                send,
                "http",
                503,
                asleep.body(),
                [*asleep.headers(), (b"retry-after", str(RETRY_SECONDS).encode())],
            )
        else:
            await self._traffic(scope, receive, send)

    def _without_keys(self, text: str) -> str:
        for key in self._keys:
            text = text.replace(key, "[key]")
        return text

    def _is_probe(self, scope: Scope) -> bool:
        """The worker's own questions, before vLLM sleeps and when it is awake again: nobody else
        asks for answers with the control key."""
        key = bearer_key(scope.get("headers", ())) or b""
        return scope.get("path") in GENERATING and hmac.compare_digest(
            sha256(key).digest(), self._control
        )

    def check(self, scope: Scope) -> Refusal | None:
        """None if the request may pass."""
        key = bearer_key(scope.get("headers", ()))
        if key is None:
            return NO_KEY
        # digests have one length, so that the comparison takes one time
        digest = sha256(key).digest()
        is_client, is_control = (
            hmac.compare_digest(digest, self._client),
            hmac.compare_digest(digest, self._control),
        )
        if not (is_client or is_control):
            return WRONG_KEY
        if scope["type"] == "http" and scope.get("path") == _EMBEDDINGS:
            return NO_EMBEDDINGS
        if is_control:
            return None
        return (
            None
            if (scope["type"], scope.get("method"), scope.get("path")) in _OPEN
            else _closed(scope)
        )

    async def _obey(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The guard's own routes."""
        route, problem = (scope.get("method"), scope.get("path")), ""
        if route == DRAIN_ROUTE:
            self._traffic.draining = True
            # nobody is held any more
            await self._rest.change({"why": self._rest.why and STOPPING.message})
        elif route == REST_ROUTE:
            await self._rest.change(await _order_in(receive))
        elif route in (PIN_ROUTE, UNPIN_ROUTE):
            name = str((await _order_in(receive)).get("name", ""))
            change = self._pins.pin if route == PIN_ROUTE else self._pins.unpin
            problem = await self._rest.over() if self._rest.why else ""
            problem = problem or await change(scope["app"].state, name)
        elif route != IDENTITY_ROUTE:
            await _answer(
                send, "http", 404, *_as_json({"error": {"message": "No such route.", "code": 404}})
            )
            return
        if problem:
            await _answer(
                send, "http", 409, *_as_json({"error": {"message": problem, "code": 409}})
            )
            return
        traffic, resting = self._traffic, self._rest
        status = {
            "id": self._id,
            "in_flight": traffic.in_flight,
            "draining": traffic.draining,
            "pinned": self._pins.names,
        }
        status |= {
            "resting": resting.why,
            "wanted": resting.wanted,
            "quiet_seconds": round(traffic.quiet_seconds, 1),
        }
        await _answer(send, "http", 200, *_as_json(status))


def _closed(scope: Scope) -> Refusal:
    """Why the client key does not open this. Only what is there needs the other key: nobody hands
    it out for a mistyped address."""
    path = str(scope.get("path"))
    if scope["type"] == "http" and path in CLIENT_PATHS:
        return wrong_method(path)
    if (
        path in _OWN_PATHS
        or "app" not in scope
        or scope["type"] != "http"
        or any(route.matches(scope)[0].value for route in scope["app"].routes)
    ):
        return CONTROL_ONLY
    return no_route(str(scope.get("method")), path)


def bearer_key(headers: Iterable[tuple[bytes, bytes]]) -> bytes | None:
    """The key of the only header that has one: a bearer token, or Anthropic's x-api-key. Two such
    headers count as none."""
    values = [
        (name.lower(), value)
        for name, value in headers
        if name.lower() in (b"authorization", b"x-api-key")
    ]
    if len(values) != 1:
        return None
    name, value = values[0]
    if name == b"x-api-key":
        return value.strip() or None
    scheme, _, key = value.partition(b" ")
    return key.strip() or None if scheme.lower() == b"bearer" else None


def _header(scope: Scope, name: bytes) -> bytes:
    return next((value for key, value in scope.get("headers", ()) if key.lower() == name), b"")


def _permission(scope: Scope, origin: bytes) -> list[tuple[bytes, bytes]]:
    """What a page of an allowed origin may send."""
    asked = _header(scope, b"access-control-request-headers")
    allowed = [
        (b"origin", origin),
        (b"methods", b"GET, POST"),
        *([(b"headers", asked)] if asked else []),
    ]
    return [
        *((b"access-control-allow-" + header, value) for header, value in allowed),
        (b"access-control-max-age", b"600"),
        (b"vary", b"origin"),
    ]


def _readable_from(origin: bytes, send: Send) -> Send:
    """`send`, so that a page of this origin may read what is sent, refusals as well."""

    async def sent(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = [(b"access-control-allow-origin", origin), (b"vary", b"origin")]
            message = {**message, "headers": [*message.get("headers", ()), *headers]}
        await send(message)

    return sent


async def _order_in(receive: Receive) -> dict[str, Any]:
    """A small JSON body; empty if it is none."""
    body, has_more = b"", True
    while has_more and len(body) < _LONGEST_ORDER:
        message = await receive()
        body, has_more = body + message.get("body", b""), message.get("more_body", False)
    try:
        return foreign_json.decode_object(body, "an order")
    except foreign_json.Damaged:
        return {}


def _as_json(value: Any) -> tuple[bytes, list[tuple[bytes, bytes]]]:
    return json.dumps(value).encode(), [(b"content-type", b"application/json")]


async def _refuse_websocket(refusal: Refusal, scope: Scope, receive: Receive, send: Send) -> None:
    """Answer the handshake with the refusal's status where the server can, else close (which it
    turns into a 403)."""
    await receive()  # websocket.connect
    if "websocket.http.response" not in scope.get("extensions", {}):
        await send({"type": "websocket.close", "code": 1008, "reason": refusal.message})
        return
    await _answer(send, "websocket.http", refusal.status, refusal.body(), refusal.headers())


async def _answer(
    send: Send, protocol: str, status: int, body: bytes, headers: list[tuple[bytes, bytes]]
) -> None:
    length = (b"content-length", str(len(body)).encode())
    await send(
        {"type": f"{protocol}.response.start", "status": status, "headers": [*headers, length]}
    )
    await send({"type": f"{protocol}.response.body", "body": body})
