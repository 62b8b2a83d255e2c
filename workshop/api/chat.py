"""Chat, passed through to the server that serves the model; a server is started, or the adapter
loaded, where none does yet. Heavy: for the API's process."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from starlette.requests import Request
from starlette.responses import StreamingResponse

from jobs.files import encoded
from jobs.job import Job
from jobs.luthier_error import LuthierError
from jobs.state import Asleep, Failed, Queued, Running, Starting
from models import registry
from serve import launch
from serve.plan import BASE
from serve.servers import Server, running_servers
from workshop.api.errors import SERVER, ApiError, in_sentences, refused
from workshop.api.names import Base, Served, Tuned, checkpoint_folder, named, no_such_model
from workshop.api.plan import ApiPlan
from workshop.chat_with_run import have_adapter_served, have_it_serve, server_job
from workshop.served_runs import own_model
from workshop.servers import LOCALHOST, living_job, server_by_job

CHAT_PATHS = ("/v1/chat/completions", "/v1/completions", "/v1/responses")
_KNOWN_SECONDS = 2.0
"""How long it is remembered which server has a model."""
_START_SECONDS = 570.0
"""How long a request waits for a server that starts; OpenAI's client gives up after 600."""
_QUEUED_SECONDS = 2.0
_LOOK_SECONDS = 0.2
_MOST_MODELS = 32
"""How many models may be looked for, and their servers waited for, at once."""
_PASSED_BACK = ("content-type", "retry-after", "x-request-id")


@dataclass(frozen=True)
class Target:
    """Who answers for a model, and the name that it has there."""

    url: str
    key: str
    name: str


class Targets:
    """Which server answers for which model."""

    def __init__(self, plan: ApiPlan) -> None:
        self._plan = plan
        self._known: dict[str, tuple[float, Target]] = {}
        # two requests start one server, and load an adapter once
        self._changing = threading.Lock()
        # a server's start takes minutes: all that else needs a thread does not wait behind it
        self._threads = ThreadPoolExecutor(_MOST_MODELS, "servers")
        self._finding: dict[str, asyncio.Task[Target]] = {}

    async def target(self, model: str) -> Target:
        """Who answers for the model. All who ask at once wait for one answer; it is remembered for
        a moment."""
        at, target = self._known.get(model, (0.0, None))
        if target is not None and time.monotonic() - at < _KNOWN_SECONDS:
            return target
        finding = self._finding.get(model)
        if finding is None:
            finding = self._finding[model] = asyncio.create_task(self._in_thread(model))
            finding.add_done_callback(lambda _: self._finding.pop(model, None))
        return await asyncio.shield(finding)

    async def _in_thread(self, model: str) -> Target:
        return await asyncio.get_running_loop().run_in_executor(self._threads, self.find, model)

    def forget(self, model: str) -> None:
        self._known.pop(model, None)

    def find(self, model: str) -> Target:
        """ApiError where nobody can answer for it, with the reason."""
        meant = named(model, self._plan.aliases)
        try:
            match meant:
                case Tuned():
                    server, name = self._tuned(meant)
                case Base():
                    server, name = self._ready(meant, lambda: _base_job(meant)), BASE
                case Served():
                    server, name = _serving(meant.name)
        except LuthierError as error:
            raise refused(error, "model_not_servable", "model", 409) from None
        target = Target(server.base_url, server.endpoint.key, name)
        self._known[model] = time.monotonic(), target
        return target

    def _tuned(self, tuned: Tuned) -> tuple[Server, str]:
        run = tuned.run
        path = None if tuned.step is None else checkpoint_folder(tuned)
        if path is None and not run.can_talk:
            raise ApiError(
                409,
                "model_not_ready",
                f"{run.id} has no model yet: GET /v1/fine_tuning/jobs/ftjob-{run.id} shows its"
                " progress.",
                "model",
            )
        if path is None:
            server = self._ready(tuned, lambda: server_job(run))
            with self._changing:
                return server, have_it_serve(server.refreshed(), run)
        base = Base(run.base_name)
        server = self._ready(base, lambda: _base_job(base))
        name = run.model_name(f"@{tuned.step}")
        with self._changing:
            adapter = (name, path, run.id)
            otherwise = f"{run.id}@{tuned.step}"
            return server, have_adapter_served(server.refreshed(), adapter, otherwise)

    def _ready(self, meant: Tuned | Base, start: Any) -> Server:
        """A server of the base, once it answers; started where there is none."""
        base = _base_folder(meant)
        running = next((server for server in running_servers() if server.plan.base == base), None)
        if running is not None:
            return running
        if not self._plan.starts_servers:
            raise ApiError(
                503,
                "model_not_served",
                f"No server has {base.name}, and this API starts none: `luthier serve` does.",
                "model",
                SERVER,
            )
        with self._changing:
            job: Job = start()
        return _once_ready(job)


def _base_folder(meant: Tuned | Base) -> Path:
    if isinstance(meant, Base):
        return registry.resolve(meant.name).resolve()
    model = own_model(meant.run)
    return meant.run.base.resolve() if model is None else registry.resolve(model.name).resolve()


def _base_job(base: Base) -> Job:
    directory = registry.resolve(base.name).resolve()
    return living_job(directory, LOCALHOST) or launch.serve(base.name, [])


def _serving(name: str) -> tuple[Server, str]:
    for server in running_servers():
        if any(model.id == name for model in server.models):
            return server, name
    if name == BASE:
        raise ApiError(
            404,
            "model_not_found",
            "No server is running, so there is no base. Name the model itself: GET /v1/models"
            " lists them.",
            "model",
        )
    raise no_such_model(name)


def _once_ready(job: Job) -> Server:
    """The server of a job that starts. ApiError where it fails, or has to wait for its turn."""
    begun = time.monotonic()
    while (waited := time.monotonic() - begun) < _START_SECONDS:
        state = job.state()
        match state:
            case Running() | Asleep():
                server = server_by_job(job)
                if server is not None:
                    return server
            case Queued(waits_for=waits_for) if waited > _QUEUED_SECONDS and waits_for:
                raise _not_yet(f"{job.id} waits for {waits_for}.")
            case Failed(title=title, message=message, hint=hint):
                reason = in_sentences(LuthierError(title, message, hint))
                raise ApiError(503, "server_failed", reason, None, SERVER)
            case Queued() | Starting():
                pass
            case _:
                raise _not_yet(f"{job.id} was stopped before it was ready.")
        time.sleep(_LOOK_SECONDS)
    raise _not_yet(f"{job.id} is still starting.")


def _not_yet(message: str) -> ApiError:
    return ApiError(503, "model_not_loaded", f"{message} Ask again later.", None, SERVER, 15)


async def pass_through(
    request: Request, path: str, body: dict[str, Any], targets: Targets, client: httpx.AsyncClient
) -> StreamingResponse:
    """The server's own answer, as it comes, under the name that the model was asked by."""
    model = body.get("model")
    if not isinstance(model, str) or not model:
        raise ApiError(400, "missing_required_parameter", "Missing parameter: 'model'.", "model")
    target = await targets.target(model)
    answer = await _answer(request, target, path, body, client)
    if answer is None or answer.status_code == 404:  # the server has ended, or lost the model
        if answer is not None:
            await answer.aclose()
        targets.forget(model)
        target = await targets.target(model)
        answer = await _answer(request, target, path, body, client)
    if answer is None:
        raise _not_yet(f"The server of {model} does not answer.")
    headers = {name: answer.headers[name] for name in _PASSED_BACK if name in answer.headers}
    return StreamingResponse(
        _renamed(answer, target.name, model), status_code=answer.status_code, headers=headers
    )


async def _answer(
    request: Request, target: Target, path: str, body: dict[str, Any], client: httpx.AsyncClient
) -> httpx.Response | None:
    """The head of the server's answer; None if it cannot be reached. Somebody who leaves before it
    comes ends the request."""
    sent = client.build_request(
        "POST",
        target.url + path,
        content=encoded({**body, "model": target.name}),
        headers={"authorization": f"Bearer {target.key}", "content-type": "application/json"},
    )
    answering = asyncio.create_task(client.send(sent, stream=True))
    leaving = asyncio.create_task(_left(request))
    try:
        await asyncio.wait({answering, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if not answering.done():
            raise ApiError(499, "client_left", "The client has left.")
        return await answering
    except httpx.TransportError:
        return None
    finally:
        leaving.cancel()
        if not answering.done():
            answering.cancel()
            with contextlib.suppress(asyncio.CancelledError, httpx.HTTPError):
                await answering


async def _left(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def _renamed(answer: httpx.Response, served: str, asked: str) -> AsyncIterator[bytes]:
    """The answer's pieces, with the name that was asked for where it has the served one. The name
    stands before all that the model says, so that only the first place of a line can be it."""
    old, new = (b'"model":' + encoded(name) for name in (served, asked))
    try:
        if old == new:
            async for piece in answer.aiter_raw():
                yield piece
            return
        unfinished_line = b""
        async for piece in answer.aiter_raw():
            *lines, unfinished_line = (unfinished_line + piece).split(b"\n")
            if lines:
                yield b"".join(line.replace(old, new, 1) + b"\n" for line in lines)
        if unfinished_line:
            yield unfinished_line.replace(old, new, 1)
    except httpx.TransportError:  # the server has ended: so does the answer
        return
    finally:
        await answer.aclose()
