"""The server that a run's certificate asks, and that the chat finds running afterwards: a server
job, started as a chat would start it."""

from __future__ import annotations

from contextlib import suppress

from jobs.job import Job
from jobs.luthier_error import LuthierError
from models.certificate import memory_needed
from models.folder import ModelFolder
from models.registry import resolve
from models.runs import Run
from serve import launch
from serve.certificate.planning import CHUNK
from serve.keeping import is_claimed, somebody_waits_for_gpu
from serve.plan import Device, ServerPlan
from serve.planning import ServeOptions, default_context_length, living_servers
from serve.servers import Server, running_servers

_HOST = "127.0.0.1"


def have_server(run: Run, context_length: int, certificate: Job) -> Job | None:
    """The server of the run's base for conversations of at least `context_length` tokens: the one
    that somebody has started since the run ended, or a new one with the run's adapter. On a GPU a
    new one leaves room for the process with transformers.

    None where the chat's server cannot be the certificate's: the model is served in another way,
    its base by a server with settings of its own, somebody waits for the GPU, or the memory is too
    small for both.
    """
    with suppress(LuthierError):
        if not run.has_model and not ModelFolder(run.folder.adapter).has_tokenizer:
            return _living(run, context_length) or _new(run, context_length, certificate)
    return None


def _living(run: Run, context_length: int) -> Job | None:
    for job, plan in living_servers():
        if (plan.base, plan.host) == (run.base.resolve(), _HOST):
            usual = (plan.extra_args, plan.generation_config) == (_extra_args(run), "vllm")
            return job if usual and reaches(plan.context_length, context_length) else None
    return None


def _new(run: Run, context_length: int, certificate: Job) -> Job | None:
    """LuthierError where the base has a server already, or there is no room."""
    device: Device = "gpu" if run.on_gpu else "cpu"
    if not reaches(default_context_length(run.base, device), context_length):
        return None
    if run.on_gpu and somebody_waits_for_gpu():
        return None
    if resolve(run.base_name).resolve() != run.base.resolve():
        return None
    options = ServeOptions(
        device=device,
        beside_bytes=memory_needed(run.base) if run.on_gpu else 0,
        extra_args=_extra_args(run),
        kept_by=certificate.id,
    )
    adapter = (run.model_name(), run.folder.adapter, run.id)
    return launch.serve(run.base_name, [adapter], _HOST, options=options)


def _extra_args(run: Run) -> list[str]:
    return [] if run.on_gpu else [CHUNK]


def is_for_nobody(job: Job, certificate: Job) -> bool:
    """Whether this certificate has started the server, and nobody has come for it."""
    started_by = ServerPlan.from_json(job.spec.settings).kept_by
    return started_by == certificate.id and not is_claimed(job.directory)


def reaches(limit: int | None, context_length: int) -> bool:
    """Whether conversations of so many tokens fit; None is what the model can."""
    return limit is None or limit >= context_length


def served_name(server: Server, run: Run) -> str:
    """The name under which a server has the run's adapter, loaded now if it had not. LuthierError
    if it cannot have it."""
    adapter = run.folder.adapter
    names = (model.id for model in server.models if model.path.resolve() == adapter.resolve())
    return next(names, None) or launch.attach(server, run.model_name(), adapter)


def server_of(job: Job) -> Server | None:
    """The server of a job, once it answers."""
    return next((server for server in running_servers() if server.job.id == job.id), None)
