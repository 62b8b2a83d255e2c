"""The door of the API: no route is reached without a key, and what changes something needs the
control key. Heavy: for the API's process."""

from __future__ import annotations

import hmac
import re
from hashlib import sha256

from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from jobs.files import encoded
from serve.guard import CONTROL_ONLY, NO_KEY, WRONG_KEY, Refusal, bearer_key
from workshop.api.chat import CHAT_PATHS

_CONTENT = re.compile(r"/v1/files/(?!file-results-)[^/]+/content")


class Door:
    """Pure ASGI middleware. The client key reads and chats; the content of uploaded files, which is
    somebody's training data, needs the control key as well."""

    def __init__(self, app: ASGIApp, client_key: str, control_key: str) -> None:
        self._app = app
        self._client = sha256(client_key.encode()).digest()
        self._control = sha256(control_key.encode()).digest()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":  # there are no websockets
            await send({"type": "websocket.close", "code": 1008})
            return
        refusal = self._check(scope)
        if refusal is None:
            await self._app(scope, receive, send)
            return
        headers = {"www-authenticate": "Bearer"} if refusal.status == 401 else {}
        await Response(refusal.body(), refusal.status, headers, "application/json")(
            scope, receive, send
        )

    def _check(self, scope: Scope) -> Refusal | None:
        """None if the request may pass."""
        key = bearer_key(scope["headers"])
        if key is None:
            return NO_KEY
        # digests have one length, so that the comparison takes one time
        digest = sha256(key).digest()
        is_client = hmac.compare_digest(digest, self._client)
        if hmac.compare_digest(digest, self._control):
            return None
        if not is_client:
            return WRONG_KEY
        return None if _is_open(scope["method"], scope["path"]) else CONTROL_ONLY


def _is_open(method: str, path: str) -> bool:
    """Whether the client key opens it."""
    if method in ("GET", "HEAD"):
        return not _CONTENT.fullmatch(path)
    return method == "POST" and path in CHAT_PATHS


def as_json(value: object, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    return Response(encoded(value), status, headers, "application/json")
