"""The routes of the fine-tuning API. Heavy: for the API's process."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import httpx
from fastapi import FastAPI, Request
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import FileResponse, Response

from jobs import foreign_json
from jobs.foreign_json import Damaged
from jobs.luthier_error import LuthierError
from models import registry
from models.runs import Run
from serve.servers import running_servers
from workshop.api import files, jobs
from workshop.api.chat import CHAT_PATHS, Targets, pass_through
from workshop.api.door import as_json
from workshop.api.errors import (
    SERVER,
    ApiError,
    error_body,
    in_sentences,
    no_such_file,
    no_such_job,
)
from workshop.api.names import (
    ORGANISATION,
    model_name,
    nameable_runs,
    no_such_model,
    run_of_id,
)
from workshop.api.order import read_order
from workshop.api.plan import ApiPlan
from workshop.api.run_view import RESULTS_PREFIX, RunView, Views
from workshop.api.upload import receive

_LONGEST_ORDER = 1_000_000  # bytes of a request for a job
_LONGEST_CHAT = 64_000_000
_MOST_JOBS, _MOST_FILES = 100, 10_000
_LATE_SWEEP_SECONDS = 20.0

T = TypeVar("T")


class Api:
    """What the routes work on. All that reads runs does so in one thread, one at a time."""

    def __init__(self, plan: ApiPlan) -> None:
        self.plan = plan
        self.views = Views()
        self.targets = Targets(plan)
        self.client = httpx.AsyncClient(
            timeout=httpx.Timeout(600.0, connect=5.0),
            limits=httpx.Limits(max_connections=None),
            trust_env=False,
        )
        self._reading = ThreadPoolExecutor(1, "reading")

    async def in_reading(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._reading, work)

    async def view(self, identifier: str) -> RunView:
        """The run behind a job's id. ApiError if it is gone."""
        view = self.views.fresh(identifier.removeprefix("ftjob-"))
        if view is not None:
            return view
        return await self.in_reading(lambda: self._read(identifier))

    def _read(self, identifier: str) -> RunView:
        try:
            return self.views.view(run_of_id(identifier))
        except FileNotFoundError:  # it was removed this instant
            raise no_such_job(identifier[:100]) from None

    async def all_views(self) -> list[RunView]:
        """All runs, the newest first."""

        def read() -> list[RunView]:
            views = []
            for run in nameable_runs():
                with contextlib.suppress(FileNotFoundError):  # it was removed this instant
                    views.append(self.views.view(run))
            return views

        return await self.in_reading(read)


def make_app(plan: ApiPlan) -> FastAPI:
    api = Api(plan)

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        # before the first upload, which has the name of one that was left half received
        await asyncio.to_thread(files.sweep)
        sweeping = asyncio.create_task(_sweep())
        yield
        sweeping.cancel()
        await api.client.aclose()

    app = FastAPI(
        docs_url=None, redoc_url=None, openapi_url=None, redirect_slashes=False, lifespan=lifespan
    )
    _add_errors(app)
    _add_files(app, api)
    _add_jobs(app, api)
    _add_models(app, api)
    _add_chat(app, api)
    return app


async def _sweep() -> None:
    """Clear up what an API that was killed had begun; once more when the newest of it is old."""
    for pause in (0.0, _LATE_SWEEP_SECONDS):
        await asyncio.sleep(pause)
        await asyncio.to_thread(jobs.sweep)


def _add_errors(app: FastAPI) -> None:
    """Every error in OpenAI's shape."""

    @app.exception_handler(ApiError)
    async def refused(request: Request, error: ApiError) -> Response:
        headers = {} if error.retry_seconds is None else {"retry-after": str(error.retry_seconds)}
        if error.status == 409:  # which OpenAI's client would ask again, in vain
            headers["x-should-retry"] = "false"
        return as_json(error.to_json(), error.status, headers)

    @app.exception_handler(HTTPException)
    async def no_route(request: Request, error: HTTPException) -> Response:
        method, path = request.method, request.url.path[:200]
        hint = "A client's base URL ends with /v1. docs/api.md lists the routes."
        code = {404: "no_such_route", 405: "wrong_method"}.get(error.status_code, "bad_request")
        text = f"No such route: {method} {path}. {hint}"
        if error.status_code == 405:
            text = f"{path} cannot be asked with {method}. {hint}"
        body = error_body(text, "invalid_request_error", None, code)
        return as_json(body, error.status_code, dict(error.headers or {}))

    @app.exception_handler(LuthierError)
    async def not_done(request: Request, error: LuthierError) -> Response:
        body = error_body(in_sentences(error), "invalid_request_error", None, "not_possible")
        return as_json(body, 409)

    @app.exception_handler(Exception)
    async def fault(request: Request, error: Exception) -> Response:
        text = "Luthier has made a mistake: the log of the API's job has the traceback."
        return as_json(error_body(text, SERVER, None, "internal_error"), 500)

    @app.exception_handler(ClientDisconnect)
    async def left(request: Request, error: ClientDisconnect) -> Response:
        return Response(status_code=499)  # nobody reads it

    @app.exception_handler(OSError)
    async def no_disk(request: Request, error: OSError) -> Response:
        text = f"The API could not read or write {error.filename or 'its files'}: {error.strerror}."
        return as_json(error_body(text, SERVER, None, "disk_error"), 507)


def _add_files(app: FastAPI, api: Api) -> None:
    @app.post("/v1/files")
    async def upload(request: Request) -> Response:
        headers = request.headers
        stored = await receive(
            headers.get("content-type", ""),
            headers.get("content-length"),
            request.stream(),
            api.plan.largest_file,
        )
        return as_json(stored.to_json())

    @app.get("/v1/files")
    async def list_files(request: Request) -> Response:
        listed = [stored.to_json() for stored in await asyncio.to_thread(files.stored_files)]
        views = [view for view in await api.all_views() if view.status == "succeeded"]
        listed += [_results_json(view) for view in views]
        purpose = request.query_params.get("purpose")
        if purpose is not None:
            listed = [file for file in listed if file["purpose"] == purpose]
        order = request.query_params.get("order", "desc")
        if order not in ("asc", "desc"):
            raise ApiError(400, "invalid_value", 'order is "asc" or "desc".', "order")
        listed.sort(key=lambda file: (file["created_at"], file["id"]), reverse=order == "desc")
        return _page(listed, request, _MOST_FILES, _MOST_FILES)

    @app.get("/v1/files/{file_id}")
    async def one_file(file_id: str) -> Response:
        if file_id.startswith(RESULTS_PREFIX):
            return as_json(_results_json(await _results_of(api, file_id)))
        return as_json((await asyncio.to_thread(files.stored_file, file_id)).to_json())

    @app.get("/v1/files/{file_id}/content")
    async def content(file_id: str) -> Response:
        if file_id.startswith(RESULTS_PREFIX):
            view = await _results_of(api, file_id)
            return Response(view.log.results_csv(), media_type="text/csv")
        stored = await asyncio.to_thread(files.stored_file, file_id)
        return FileResponse(stored.path, media_type="application/octet-stream")

    @app.delete("/v1/files/{file_id}")
    async def delete(file_id: str) -> Response:
        if file_id.startswith(RESULTS_PREFIX):
            view = await _results_of(api, file_id)
            raise ApiError(
                409,
                "results_of_a_run",
                f"{file_id} is made of the events of {view.run.id}: `luthier remove` deletes both.",
                "id",
            )
        await asyncio.to_thread(jobs.remove_file, file_id)
        return as_json({"id": file_id, "object": "file", "deleted": True})


async def _results_of(api: Api, file_id: str) -> RunView:
    """ApiError where the run is gone, or has no results yet."""
    try:
        view = await api.view(file_id.removeprefix(RESULTS_PREFIX))
    except ApiError:
        raise no_such_file(file_id[:100]) from None
    if view.status != "succeeded":
        raise no_such_file(file_id)
    return view


def _results_json(view: RunView) -> dict[str, Any]:
    job = view.to_json()
    return {
        "id": f"{RESULTS_PREFIX}{view.run.id}",
        "object": "file",
        "bytes": len(view.log.results_csv()),
        "created_at": job["finished_at"],
        "expires_at": None,
        "filename": "step_metrics.csv",
        "purpose": "fine-tune-results",
        "status": "processed",
        "status_details": None,
    }


def _add_jobs(app: FastAPI, api: Api) -> None:
    jobs_path = "/v1/fine_tuning/jobs"

    @app.post(jobs_path)
    async def create(request: Request) -> Response:
        headers = request.headers
        order = read_order(await _json(request, _LONGEST_ORDER), headers.get("idempotency-key", ""))
        retries = headers.get("x-stainless-retry-count", "0")
        is_retry = retries.isdecimal() and int(retries) > 0
        run = await asyncio.to_thread(jobs.create, order, api.plan, is_retry=is_retry)
        return Response((await api.view(run.id)).body, media_type="application/json")

    @app.get(jobs_path)
    async def list_jobs(request: Request) -> Response:
        views = await api.all_views()
        views = [view for view in views if _has_metadata(view, request)]
        return _page([view.to_json() for view in views], request, 20, _MOST_JOBS)

    @app.get(jobs_path + "/{identifier}")
    async def retrieve(identifier: str) -> Response:
        return Response((await api.view(identifier)).body, media_type="application/json")

    def add_change(name: str, change: Callable[[Run], None]) -> None:
        async def route(identifier: str) -> Response:
            view = await api.view(identifier)
            await asyncio.to_thread(change, view.run)
            view = await api.view(identifier)
            return Response(view.body, media_type="application/json")

        app.add_api_route(f"{jobs_path}/{{identifier}}/{name}", route, methods=["POST"])

    add_change("cancel", jobs.cancel)
    add_change("pause", jobs.pause)
    add_change("resume", jobs.go_on)

    @app.get(jobs_path + "/{identifier}/events")
    async def list_events(identifier: str, request: Request) -> Response:
        log = (await api.view(identifier)).log
        count = len(log.told)
        limit, after = _limit(request, 20, _MOST_JOBS), request.query_params.get("after")
        newest = count if after is None else _index(after, log.event_json, count)
        oldest = max(0, newest - limit)
        page = [log.event_json(index) for index in range(newest - 1, oldest - 1, -1)]
        return _list(page, has_more=oldest > 0)

    @app.get(jobs_path + "/{identifier}/checkpoints")
    async def list_checkpoints(identifier: str, request: Request) -> Response:
        log = (await api.view(identifier)).log
        checkpoints = list(log.checkpoints.values())  # at once: another thread may read on
        newest_first = sorted(checkpoints, key=lambda at: at.step, reverse=True)
        listed = [log.checkpoint_json(checkpoint) for checkpoint in newest_first]
        return _page(listed, request, 10, _MOST_JOBS)


def _index(event_id: str, event_json: Callable[[int], dict[str, Any]], count: int) -> int:
    """The place of an event in its log, by its id."""
    number = event_id.rpartition("-")[2]
    is_index = number.isdecimal() and len(number) < 12 and int(number) < count
    if is_index and event_json(int(number))["id"] == event_id:
        return int(number)
    raise ApiError(400, "invalid_value", f"No such event: {event_id[:100]!r}.", "after")


def _has_metadata(view: RunView, request: Request) -> bool:
    """Whether a job has what `metadata[key]=value` asks for; `metadata=null`: none at all."""
    metadata = {} if view.order is None else view.order.metadata
    for name, value in request.query_params.multi_items():
        if name == "metadata" and value == "null" and metadata:
            return False
        if name.startswith("metadata[") and metadata.get(name[9:].removesuffix("]")) != value:
            return False
    return True


def _add_models(app: FastAPI, api: Api) -> None:
    @app.get("/v1/models")
    async def list_models() -> Response:
        return _list(await asyncio.to_thread(_models, api.plan), has_more=None)

    @app.get("/v1/models/{name:path}")
    async def one_model(name: str) -> Response:
        for model in await asyncio.to_thread(_models, api.plan):
            if model["id"] == name:
                return as_json(model)
        raise no_such_model(name)


def _models(plan: ApiPlan) -> list[dict[str, Any]]:
    """What chat takes as a model: bases, aliases, tuned models by both names, and what else the
    servers have. A name stands there once."""
    entries: dict[str, dict[str, Any]] = {}

    def add(name: str, created: float, owner: str, parent: str | None = None) -> None:
        entry = {"id": name, "object": "model", "created": int(created), "owned_by": owner}
        entries.setdefault(name, {**entry, "parent": parent})

    for base in registry.list_models():
        if base.ready:
            add(base.name, base.path.stat().st_mtime, ORGANISATION)
    for alias, model in plan.aliases.items():
        add(alias, time.time(), ORGANISATION, model)
    for run in nameable_runs():
        if run.can_talk:
            for name in (model_name(run), run.name):
                add(name, run.job.created, ORGANISATION, run.base_name)
    for server in running_servers():
        for served in server.models:
            parent = None if served.kind == "base" else server.plan.base_name
            add(served.id, server.job.created, ORGANISATION, parent)
    return list(entries.values())


def _add_chat(app: FastAPI, api: Api) -> None:
    def add(path: str) -> None:
        async def route(request: Request) -> Response:
            body = await _json(request, _LONGEST_CHAT)
            return await pass_through(request, path, body, api.targets, api.client)

        app.add_api_route(path, route, methods=["POST"])

    for path in CHAT_PATHS:
        add(path)


async def _json(request: Request, largest: int) -> dict[str, Any]:
    """The body as an object."""
    body = bytearray()
    async for piece in request.stream():
        body += piece
        if len(body) > largest:
            raise ApiError(413, "request_too_large", f"A request has at most {largest:,} bytes.")
    try:
        values = foreign_json.decode_object(bytes(body), "The request")
        # a lone half of a character that \u wrote: nothing that is made of it could be stored
        str(values).encode()
    except UnicodeEncodeError:
        raise ApiError(
            400, "invalid_json", "The request holds half a character (\\ud800)."
        ) from None
    except Damaged as error:
        raise ApiError(400, "invalid_json", error.message) from None
    return values


def _page(listed: Sequence[dict[str, Any]], request: Request, usual: int, most: int) -> Response:
    """The entries behind `after`, at most `limit`."""
    limit, after = _limit(request, usual, most), request.query_params.get("after")
    start = 0
    if after is not None:
        start = 1 + next(
            (index for index, entry in enumerate(listed) if entry["id"] == after), len(listed)
        )
        if start > len(listed):
            raise ApiError(400, "invalid_value", f"Nothing has the id {after[:100]!r}.", "after")
    page = listed[start : start + limit]
    return _list(page, has_more=start + limit < len(listed))


def _limit(request: Request, usual: int, most: int) -> int:
    text = request.query_params.get("limit", str(usual))
    if not (text.isascii() and text.isdecimal() and len(text) < 9 and 1 <= int(text) <= most):
        raise ApiError(400, "invalid_value", f"limit is a number from 1 to {most}.", "limit")
    return int(text)


def _list(entries: Sequence[dict[str, Any]], *, has_more: bool | None) -> Response:
    body: dict[str, Any] = {"object": "list", "data": entries}
    if has_more is not None:
        ends = (entries[0]["id"], entries[-1]["id"]) if entries else (None, None)
        body |= {"has_more": has_more, "first_id": ends[0], "last_id": ends[1]}
    return as_json(body)
