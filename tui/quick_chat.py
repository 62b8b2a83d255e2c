"""From a run to somebody to talk to: a server of its base model that has its adapter, started or found."""

from __future__ import annotations

import time
from pathlib import Path

from jobs.errors import LuthierError
from jobs.job import Job
from jobs.state import Asleep, Failed, Lost, Running, Stopped, Stopping
from serve import launch
from serve.planning import living_servers
from serve.servers import Server, running_servers
from serve.sleep import wake
from tui.serving import adapters_of

HOST = "127.0.0.1"
_LOOK_SECONDS = 0.2


def server_job(run: Job) -> Job:
    """The server of the run's base model, living or just started; a starting one is not ready yet."""
    base, adapters = adapters_of([run])
    directory = Path(str(run.spec.settings["model_directory"])).resolve()
    living = [job for job, plan in living_servers() if plan.base == directory and plan.host == HOST]
    return living[0] if living else launch.serve(base, adapters)


def once_ready(job: Job) -> Server:
    """The server, once it serves. LuthierError with its reason if it ends first."""
    while not isinstance(state := job.state(), Running | Asleep):
        if isinstance(state, Failed):
            raise LuthierError(state.title, state.message, state.hint)
        if isinstance(state, Stopped | Stopping | Lost):
            raise LuthierError("The server has ended", f"{job.id} was stopped before it was ready.", "Ask again: it is started anew.")
        time.sleep(_LOOK_SECONDS)
    if isinstance(state, Asleep):
        wake(job, wait=False)
    while (server := next((one for one in running_servers() if one.job.id == job.id), None)) is None:
        time.sleep(_LOOK_SECONDS)
    return server


def have_it_serve(server: Server, run: Job) -> str:
    """The name under which a ready server has the run's adapter, loaded now if it had not."""
    ((name, path, _),) = adapters_of([run])[1]
    known = next((model.id for model in server.models if model.path.resolve() == path.resolve()), None)
    if known is not None:
        return known
    return launch.attach(server, run.id if name in {model.id for model in server.models} else name, path)
