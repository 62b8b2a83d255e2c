"""From a run to somebody to talk to: a server of its base model that has its adapter, started or
found."""

from __future__ import annotations

import time
from pathlib import Path

from jobs.errors import LuthierError
from jobs.job import Job
from jobs.state import Asleep, Done, Failed, Lost, Stopped, Stopping
from models.registry import resolve
from serve import launch
from serve.plan import BASE
from serve.planning import NamedAdapter, living_servers
from serve.servers import Server, running_servers
from serve.sleep import wake
from workshop.merging import is_there, whole_model
from workshop.serving import adapters_of, add_adapters

HOST = "127.0.0.1"
_LOOK_SECONDS = 0.2


def server_job(run: Job) -> Job:
    """The server of the run's base model, living or just started; a starting one is not ready
    yet."""
    base, adapters = _what(run)
    directory = (
        resolve(base).resolve()
        if not adapters
        else Path(str(run.spec.settings["model_directory"])).resolve()
    )
    living = [job for job, plan in living_servers() if plan.base == directory and plan.host == HOST]
    return living[0] if living else launch.serve(base, adapters)


def once_ready(job: Job) -> Server:
    """The server, once it serves, or wakes to. LuthierError with its reason if it ends first."""
    while True:
        state = job.state()
        if isinstance(state, Failed):
            raise LuthierError(state.title, state.message, state.hint)
        if isinstance(state, Stopped | Stopping | Lost | Done):
            raise LuthierError(
                "The server has ended",
                f"{job.id} was stopped before it was ready.",
                "Ask again: it is started anew.",
            )
        server = next((one for one in running_servers() if one.job.id == job.id), None)
        if server is not None:
            if isinstance(state, Asleep):
                wake(job, wait=False)
            return server
        time.sleep(_LOOK_SECONDS)


def have_it_serve(server: Server, run: Job) -> str:
    """The name under which a ready server has the run's model, its adapter loaded now if it had
    not."""
    _, adapters = _what(run)
    if not adapters:
        return BASE
    ((name, path, of),) = adapters
    taken = {model.id for model in server.models if model.path.resolve() != path.resolve()}
    added = add_adapters(server, [(run.id if name in taken else name, path, of)])
    return (
        added[0]
        if added
        else next(model.id for model in server.models if model.path.resolve() == path.resolve())
    )


def _what(run: Job) -> tuple[str, list[NamedAdapter]]:
    """The base and the adapter that the run is served as; without an adapter where it is a model of
    its own."""
    whole = whole_model(run)
    if not whole:
        return adapters_of([run])
    if not is_there(run):
        message = (
            f"vLLM cannot load the adapter of {run.id} beside its base: it is to be merged first."
        )
        hint = f"m on the Models screen merges it; `luthier serve {run.id}` merges and serves it."
        raise LuthierError("Not merged yet", message, hint)
    return whole, []
