"""`python -m tests.real.dev_routes`: every route that vLLM's development mode adds, asked through
the guard, without an engine behind it.

Prints JSON: for each route the status without a key, with the client key, and with the control key
while vLLM rests ("reached": it passed).
"""

from __future__ import annotations

import asyncio
import json
import os

from fastapi import FastAPI
from fastapi.routing import APIRoute
from vllm.entrypoints.rl.factories import register_rl_api_routers
from vllm.entrypoints.serve import register_vllm_dev_api_routers

from serve.guard import Guard
from serve.traffic import Message, Receive, Scope, Send

CLIENT, CONTROL = "client-key-for-tests", "control-key-for-tests"


async def status(method: str, path: str, key: str, resting: bool = False) -> int | str:
    sent: list[Message] = []

    async def reached(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": "reached"})

    async def receive() -> Message:
        return {"type": "http.request", "body": b'{"why": "It sleeps."}'}

    async def send(message: Message) -> None:
        sent.append(message)

    guard = Guard(reached)
    control = [(b"authorization", f"Bearer {CONTROL}".encode())]
    if resting:
        await guard(
            {"type": "http", "method": "POST", "path": "/luthier/rest", "headers": control},
            receive,
            send,
        )
        sent.clear()
    headers = [(b"authorization", f"Bearer {key}".encode())] if key else []
    await guard({"type": "http", "method": method, "path": path, "headers": headers}, receive, send)
    answer: int | str = sent[0]["status"]
    return answer


def main() -> None:
    os.environ |= {"LUTHIER_CLIENT_KEY": CLIENT, "LUTHIER_CONTROL_KEY": CONTROL}
    app = FastAPI()
    own = len(app.routes)
    register_vllm_dev_api_routers(app)
    register_rl_api_routers(app)
    found = sorted(
        (method, route.path)
        for route in app.routes[own:]
        if isinstance(route, APIRoute)
        for method in route.methods
    )
    told = [
        {
            "route": f"{method} {path}",
            "nobody": asyncio.run(status(method, path, "")),
            "client": asyncio.run(status(method, path, CLIENT)),
            "resting": asyncio.run(status(method, path, CONTROL, resting=True)),
        }
        for method, path in found
    ]
    print(json.dumps(told))


if __name__ == "__main__":
    main()
