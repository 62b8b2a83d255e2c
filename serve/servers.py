"""The servers that run now, as their jobs tell of them: who listens where and serves what."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal

import msgspec

from jobs.files import write_json
from jobs.foreign_json import Damaged
from jobs.job import Job, all_jobs
from jobs.luthier_error import LuthierError
from jobs.state import Asleep, Running
from jobs.uses import SERVED
from models import foreign
from serve.client import Endpoint
from serve.key_files import client_key, control_key
from serve.plan import ServerPlan

LOOK = "look"


@dataclass(frozen=True)
class ServedModel:
    """One name of the endpoint. `run` is the id of the run that made the adapter, if one did. A
    `missing` one has lost its folder; that of a `changed` one has another adapter by now."""

    id: str
    kind: Literal["base", "adapter"]
    path: Path
    run: str | None = None
    pinned: bool = False
    missing: bool = False
    changed: bool = False


class _Told(msgspec.Struct):
    """`server.json`, as a server's worker writes it."""

    host: str
    port: int
    models: list[ServedModel]
    contents: dict[str, str] = {}


@dataclass(frozen=True)
class Server:
    """A running server. Its keys are those of the home. `contents` has what it has served so far:
    the hash of each adapter by its name."""

    job: Job
    host: str
    port: int
    models: list[ServedModel]
    contents: dict[str, str] = field(default_factory=dict)

    @property
    def base_url(self) -> str:
        return base_url(self.host, self.port)

    @property
    def endpoint(self) -> Endpoint:
        """Where and how to talk to it."""
        return Endpoint(self.base_url, client_key())

    @property
    def control_endpoint(self) -> Endpoint:
        """The same with the key that may load adapters."""
        return Endpoint(self.base_url, control_key())

    @property
    def plan(self) -> ServerPlan:
        return ServerPlan.from_json(self.job.spec.settings)

    @property
    def context_length(self) -> int | None:
        """What its plan has fixed, in tokens."""
        length: int | None = self.job.spec.settings.get("context_length")
        return length

    def refreshed(self) -> Server:
        """The same server with the models that it serves by now."""
        return read_server(self.job) or self


def look_again(server: Server) -> None:
    """Have the server's worker look now what it serves, instead of within a second."""
    (server.job.directory / LOOK).touch()


def base_url(host: str, port: int) -> str:
    """The address for a client on this machine: a server that listens everywhere is asked on
    loopback."""
    name = {"0.0.0.0": "127.0.0.1", "": "127.0.0.1", "::": "::1"}.get(host, host)
    return f"http://[{name}]:{port}" if ":" in name else f"http://{name}:{port}"


def running_servers() -> list[Server]:
    """The servers that answer, newest first; those that sleep, too: they wake, or say why not
    now."""
    servers = []
    for job in all_jobs("server"):
        if isinstance(job.state(), Running | Asleep):
            # `luthier runs --all` shows it: nobody can talk to it without its server.json
            with suppress(Damaged):
                server = read_server(job)
                servers += [server] if server is not None else []
    return servers


def current_server() -> Server:
    """The newest running server. LuthierError if there is none."""
    servers = running_servers()
    if not servers:
        raise LuthierError(
            "No server is running",
            "No model of Luthier's is being served.",
            "Start one: `luthier serve RUN`, or v on the Runs screen.",
        )
    return servers[0]


def write_server(
    directory: Path, plan: ServerPlan, models: list[ServedModel], contents: dict[str, str]
) -> None:
    """Tell the world what the server of this job folder serves. Only its worker writes it."""
    served = [{**asdict(model), "path": str(model.path)} for model in models]
    write_json(
        directory / SERVED,
        {"host": plan.host, "port": plan.port, "models": served, "contents": contents},
    )


def read_server(job: Job) -> Server | None:
    """What a job's server.json says of its server, running or not; None before it is ready."""
    try:
        served = foreign.read(job.directory / SERVED, _Told)
    except FileNotFoundError:  # it began to run this instant
        return None
    return Server(job, served.host, served.port, served.models, served.contents)


def is_for_cpu(job: Job) -> bool:
    """Whether a server was planned for a CPU, also one whose plan is damaged."""
    return bool(job.spec.settings.get("device") == "cpu")
