"""Servers for what people want to talk to: found, waited for, started, lent, and given adapters."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from jobs.home import jobs_directory
from jobs.job import Job
from jobs.luthier_error import LuthierError
from jobs.state import Asleep, Done, Failed, Lost, Running, State, Stopped, Stopping
from models.folder import ModelFolder
from models.standing import Standing, of_adapter
from serve import launch, servers
from serve.keeping import claim
from serve.planning import NamedAdapter, living_servers
from serve.servers import ServedModel, Server
from serve.sleep import wake

LOCALHOST = "127.0.0.1"
_LOOK_SECONDS = 0.2


class Follow(Protocol):
    """Waits for a job, showing its progress under a title. LuthierError if it ends before it is as
    `is_reached` wants it."""

    def __call__(self, job: Job, title: str, is_reached: Callable[[State], bool], /) -> object: ...


def server_of(base: Path, host: str) -> Server | None:
    """A running server of this base model on this host."""
    running = (
        server
        for server in servers.running_servers()
        if server.plan.base == base and server.host == host
    )
    return next(running, None)


def living_job(base: Path, host: str) -> Job | None:
    """The server of this base model on this host, running or just started."""
    jobs = (job for job, plan in living_servers() if plan.base == base and plan.host == host)
    return next(jobs, None)


def server_by_job(job: Job) -> Server | None:
    """The server of a job, once it answers."""
    return next((server for server in servers.running_servers() if server.job.id == job.id), None)


def once_ready(job: Job) -> Server:
    """The server, once it serves, or wakes to. LuthierError with its reason if it ends first."""
    claim(job)
    while True:
        state = job.state()
        if isinstance(state, Failed):
            raise LuthierError(state.title, state.message, state.hint)
        if isinstance(state, Stopped | Stopping | Lost | Done):
            raise LuthierError(
                "The server has ended",
                f"{job.id} was stopped before it was ready.",
                "Try again: Luthier then starts it again.",
            )
        server = server_by_job(job)
        if server is not None:
            if isinstance(state, Asleep):
                wake(job, wait=False)
            return server
        time.sleep(_LOOK_SECONDS)


def once_started(job: Job, follow: Follow) -> Server:
    """The server, once it answers; its start is shown."""
    follow(job, f"Starting {job.spec.name}", lambda state: isinstance(state, Running))
    return next(server for server in servers.running_servers() if server.job.id == job.id)


def running_or_starting(base: Path, host: str, follow: Follow) -> Server | None:
    """The server of this base model on this host, once it is ready, if somebody has started one."""
    running = server_of(base, host)
    if running is not None:
        return running
    starting = living_job(base, host)
    return None if starting is None else once_started(starting, follow)


@contextmanager
def lent(
    base: str,
    directory: Path,
    adapters: list[NamedAdapter],
    *,
    follow: Follow,
    loaded: Callable[[Server, str], object],
    end: Callable[[Job], object],
) -> Iterator[Server]:
    """A server on this machine that has these adapters, for as long as the caller needs one: one
    that runs or starts already, or a new one. `loaded` hears of each adapter that a running one
    gets, `end` gets the job of a new one at the end."""
    running = running_or_starting(directory, LOCALHOST, follow)
    if running is not None:
        for name in add_adapters(running, adapters):
            loaded(running, name)
        yield running.refreshed()
        return
    job = launch.serve(base, adapters, LOCALHOST)
    try:
        yield once_started(job, follow)
    finally:
        end(job)


def add_adapters(server: Server, adapters: list[NamedAdapter]) -> list[str]:
    """Load adapters into a running server. Those that it has already are left alone, but one whose
    folder has another content by now makes way for it. One whose name another model has gets its
    run's id in the place of the name. The names that were added."""
    added: list[str] = []
    for name, path, run in adapters:
        content = ModelFolder(path).identity()
        served = [model.id for model in server.models if model.path.resolve() == path.resolve()]
        outdated = [
            model_id for model_id in served if server.contents.get(model_id, content) != content
        ]
        if served and served != outdated:
            continue
        for model_id in outdated:
            launch.detach(server, model_id)
        taken = name in added or any(
            model.id == name and model.path.resolve() != path.resolve() for model in server.models
        )
        name = run + checkpoint_of(name) if taken and run is not None else name
        added.append(launch.attach(server, name, path))
    return added


def checkpoint_of(name: str) -> str:
    """What stands behind a run's name for a checkpoint: "@400", or nothing."""
    return "".join(name.partition("@")[1:])


def standings_of(models: Iterable[ServedModel]) -> dict[str, Standing]:
    """The certificates of the served models that runs have made, by the models' names."""
    return {
        model.id: of_adapter(jobs_directory() / model.run)
        for model in models
        if model.run is not None
    }
