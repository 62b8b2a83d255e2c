"""The door of a server: no handler of vLLM is reached without a key, on HTTP or WebSocket.

vLLM loads `Guard` by `--middleware serve.guard.Guard`. It runs inside vLLM's process: standard library only. The two keys come
from the environment. The client key opens `CLIENT_ROUTES`, everything else needs the control key.
"""

from __future__ import annotations

import hmac
import json
import os
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

CLIENT_KEY_VARIABLE = "LUTHIER_CLIENT_KEY"
CONTROL_KEY_VARIABLE = "LUTHIER_CONTROL_KEY"
SERVER_ID_VARIABLE = "LUTHIER_SERVER_ID"

# The guard's one own route (control key): which server this is. A port alone may by now belong to another one with the same keys.
IDENTITY_ROUTE = ("GET", "/luthier/server")

# Compared with the decoded path exactly as vLLM routes it: a spelling that is not listed needs the control key.
CLIENT_ROUTES = frozenset(
    {
        ("GET", "/health"),
        ("GET", "/metrics"),
        ("GET", "/v1/models"),
        ("POST", "/v1/chat/completions"),
        ("POST", "/v1/completions"),
        ("POST", "/v1/responses"),
        ("POST", "/tokenize"),
        ("POST", "/detokenize"),
    }
)

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]


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
    401, "This server asks for an API key: send the header `Authorization: Bearer KEY`.", "invalid_request_error", "missing_api_key"
)
WRONG_KEY = Refusal(401, "The API key is not one of this server's keys.", "invalid_request_error", "invalid_api_key")
CONTROL_ONLY = Refusal(403, "This route needs the control key; yours is the client key.", "permission_error", "control_key_required")


class Guard:
    """Pure ASGI middleware. It does not start without two good keys."""

    def __init__(self, app: Application) -> None:
        self._app = app
        client, control = os.environ.get(CLIENT_KEY_VARIABLE, ""), os.environ.get(CONTROL_KEY_VARIABLE, "")
        if min(len(client), len(control)) < 16 or client == control:
            raise ValueError(f"{CLIENT_KEY_VARIABLE} and {CONTROL_KEY_VARIABLE} must be two different keys of at least 16 characters")
        self._client = sha256(client.encode()).digest()
        self._control = sha256(control.encode()).digest()
        self._identity = json.dumps({"id": os.environ.get(SERVER_ID_VARIABLE, "")}).encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        refusal = self.check(scope)
        if refusal is not None and scope["type"] == "websocket":
            await _refuse_websocket(refusal, scope, receive, send)
        elif refusal is not None:
            await _answer(send, "http", refusal.status, refusal.body(), refusal.headers())
        elif (scope.get("method"), scope.get("path")) == IDENTITY_ROUTE:
            await _answer(send, "http", 200, self._identity, [(b"content-type", b"application/json")])
        else:
            await self._app(scope, receive, send)

    def check(self, scope: Scope) -> Refusal | None:
        """None if the request may pass."""
        key = bearer_key(scope.get("headers", ()))
        if key is None:
            return NO_KEY
        digest = sha256(key).digest()  # digests have one length, so that the comparison takes one time
        is_client, is_control = hmac.compare_digest(digest, self._client), hmac.compare_digest(digest, self._control)
        if is_control:
            return None
        if not is_client:
            return WRONG_KEY
        # A websocket scope has no method: the client key opens none.
        return None if scope["type"] == "http" and (scope.get("method"), scope.get("path")) in CLIENT_ROUTES else CONTROL_ONLY


def bearer_key(headers: Iterable[tuple[bytes, bytes]]) -> bytes | None:
    """The key of the only Authorization header, if it is a bearer token. Two such headers count as none."""
    values = [value for name, value in headers if name.lower() == b"authorization"]
    if len(values) != 1:
        return None
    scheme, _, key = values[0].partition(b" ")
    return key.strip() or None if scheme.lower() == b"bearer" else None


async def _refuse_websocket(refusal: Refusal, scope: Scope, receive: Receive, send: Send) -> None:
    """Answer the handshake with the refusal's status where the server can, else close (which it turns into a 403)."""
    await receive()  # websocket.connect
    if "websocket.http.response" not in scope.get("extensions", {}):
        await send({"type": "websocket.close", "code": 1008, "reason": refusal.message})
        return
    await _answer(send, "websocket.http", refusal.status, refusal.body(), refusal.headers())


async def _answer(send: Send, protocol: str, status: int, body: bytes, headers: list[tuple[bytes, bytes]]) -> None:
    length = (b"content-length", str(len(body)).encode())
    await send({"type": f"{protocol}.response.start", "status": status, "headers": [*headers, length]})
    await send({"type": f"{protocol}.response.body", "body": body})
