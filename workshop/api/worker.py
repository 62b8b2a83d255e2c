"""The fine-tuning API as a job: `python -P -m workshop.api.worker JOB_DIRECTORY` answers until it
is stopped."""

from __future__ import annotations

import asyncio
import contextlib

import uvicorn

from jobs.worker import WorkerContext, run_worker
from serve.key_files import client_key, control_key
from serve.ports import port_taken, remember_port, reserved
from workshop.api.app import make_app
from workshop.api.door import Door
from workshop.api.launch import LAST_PORT_FILE
from workshop.api.plan import READY, ApiPlan

_LOOK_SECONDS = 0.2
_ANSWERS_SECONDS = 5
"""How long a stop waits for the answers that are being written."""


class _Server(uvicorn.Server):
    """uvicorn without its own handling of signals: the job's worker has that."""

    @contextlib.contextmanager
    def capture_signals(self):  # type: ignore[no-untyped-def]
        yield


def main(context: WorkerContext) -> None:
    """Answer until stopped."""
    plan = ApiPlan.from_json(context.settings)
    with reserved(plan.host, plan.port):
        asyncio.run(_serve(context, plan))


async def _serve(context: WorkerContext, plan: ApiPlan) -> None:
    server = _Server(
        uvicorn.Config(
            Door(make_app(plan), client_key(), control_key()),
            host=plan.host,
            port=plan.port,
            access_log=False,
            log_level="warning",
            lifespan="on",
            ws="none",
            server_header=False,
            timeout_graceful_shutdown=_ANSWERS_SECONDS,
        )
    )
    serving = asyncio.create_task(server.serve())
    while not server.started and not serving.done():
        await asyncio.sleep(_LOOK_SECONDS / 10)
    if serving.done():
        with contextlib.suppress(SystemExit):
            await serving
        raise port_taken(plan.host, plan.port)
    remember_port(plan.port, LAST_PORT_FILE)
    context.phase(READY, port=plan.port)
    while not context.stopping.is_set() and not serving.done():
        await asyncio.sleep(_LOOK_SECONDS)
    server.should_exit = True
    await serving


if __name__ == "__main__":
    run_worker(main)
