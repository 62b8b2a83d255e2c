"""Starting a server, and changing what one serves that runs. Everything that can be wrong is found
before anything starts."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Callable
from pathlib import Path

from jobs.gpus import gpus
from jobs.job import Job, submit
from jobs.luthier_error import LuthierError
from jobs.near import did_you_mean
from jobs.spec import Spec
from models.folder import ModelFolder
from models.registry import display_name, resolve
from serve.client import list_cards, list_models, load_adapter, post, server_state, unload_adapter
from serve.log import READY
from serve.plan import DRAIN_SECONDS, STOP_SECONDS, ServerPlan
from serve.planning import (
    NamedAdapter,
    ServeOptions,
    check_names,
    living_servers,
    make_plan,
    servable,
    template_of,
)
from serve.ports import choosing
from serve.servers import Server, look_again
from serve.vllm_arguments import replicas
from serve.vllm_command import vllm_module

_TOLD_SECONDS = 6.0


def serve(
    base: str | Path,
    adapters: list[NamedAdapter],
    host: str = "127.0.0.1",
    port: int | None = None,
    options: ServeOptions | None = None,
) -> Job:
    """Start a server of a base model and adapters, given as (name, folder, id of the run or None).
    It is ready when its job is Running.

    A second server of the same model and host starts only on a port that is named; `attach` adds
    adapters to the first.
    """
    options = options or ServeOptions()
    directory = resolve(str(base)).resolve()
    if options.python == sys.executable:
        vllm_module()
    with choosing():
        if port is None:
            _refuse_twin(directory, host)
        plan = make_plan(
            directory,
            base if isinstance(base, str) else display_name(directory),
            adapters,
            host,
            port,
            options,
        )
        return submit(_order(plan, options))


def _order(plan: ServerPlan, options: ServeOptions) -> Spec:
    on_gpu = plan.device == "gpu"
    slots = (
        [f"gpu-{options.gpu}"]
        if options.gpu is not None
        else ["gpu"] * plan.gpus * replicas(plan.extra_args)
    )
    smallest = min((gpu.total for gpu in gpus()), default=0)
    return Spec(
        kind="server",
        # a name of its own: a run has that of its adapter
        name=f"{plan.adapters[0].name if plan.adapters else plan.base_name}-server",
        module="serve.worker",
        settings=plan.to_json(),
        slots=slots if on_gpu else [],
        gpu_bytes=int(plan.gpu_memory * smallest) if on_gpu else 0,
        # a run that may share, and whose memory is free beside the server, need not wait for it
        share_gpu=on_gpu,
        gives_way=plan.sleeps,
        preempts="never",
        ready_phase=READY,
        grace_seconds=DRAIN_SECONDS + STOP_SECONDS + 10.0,
        python=options.python,
    )


def attach(server: Server, name: str, path: Path) -> str:
    """Load an adapter into a running server, and wait until `servers` tells of it. The name that it
    is served under: `name`, with a part of its hash where this server has had another content under
    that name, whose cached prompts would answer for it.

    LuthierError with the reason if it cannot be served.
    """
    plan = server.plan
    adapter = servable(path, plan.base)
    check_names([name], set(asyncio.run(list_models(server.endpoint))))
    if adapter.rank > plan.max_lora_rank:
        message = (
            f"{name} has rank {adapter.rank}, but this server was started for ranks up to"
            f" {plan.max_lora_rank}."
        )
        raise LuthierError(
            "Rank too high for this server",
            message,
            f"Stop {server.job.id}, then start it again with this adapter.",
        )
    template = template_of(adapter, plan.base)
    served = None if plan.chat_template is None else plan.chat_template.read_text(encoding="utf-8")
    if (template or "").rstrip() != (served or "").rstrip():
        message = (
            f"{name} was trained with a chat template that differs from the one that"
            f" {server.job.id} uses."
        )
        raise LuthierError(
            "Different chat template",
            message,
            "Serve it on a separate --port: a server has only one template.",
        )
    content = ModelFolder(adapter.directory).identity()
    if server.refreshed().contents.get(name, content) != content:
        name = f"{name[:55]}.{content[:8]}"
        check_names([name], set(asyncio.run(list_models(server.endpoint))))
    asyncio.run(load_adapter(server.control_endpoint, name, adapter.directory))
    _wait_until_told(server, lambda now: any(model.id == name for model in now.models))
    return name


def detach(server: Server, name: str) -> None:
    """Take an adapter out of a running server."""
    _check_adapter(server, name)
    if name in asyncio.run(server_state(server.control_endpoint))["pinned"]:
        unpin(server, name)
    asyncio.run(unload_adapter(server.control_endpoint, name))
    _wait_until_told(server, lambda now: all(model.id != name for model in now.models))


def pin(server: Server, name: str) -> None:
    """Have vLLM keep an adapter in memory whatever else is asked for. LuthierError if one place
    would not stay free for the others."""
    _check_adapter(server, name)
    asyncio.run(post(server.control_endpoint, "/luthier/pin", {"name": name}))
    _wait_until_told(
        server, lambda now: any(model.id == name and model.pinned for model in now.models)
    )


def unpin(server: Server, name: str) -> None:
    _check_adapter(server, name)
    asyncio.run(post(server.control_endpoint, "/luthier/unpin", {"name": name}))
    _wait_until_told(
        server, lambda now: any(model.id == name and not model.pinned for model in now.models)
    )


def _check_adapter(server: Server, name: str) -> None:
    """LuthierError if the server has no adapter of that name."""
    cards = asyncio.run(list_cards(server.endpoint))
    found = next((card for card in cards if card.id == name), None)
    if found is None or found.parent is None:
        what = "is the base model, which stays loaded." if found else "is not one of its models."
        names = [card.id for card in cards if card.parent is not None]
        meant = "" if found else did_you_mean(name, names)
        raise LuthierError(
            "No such adapter",
            f"{name!r} {what}",
            f"{meant}{server.job.id} has these adapters: {', '.join(names) or 'none'}.",
        )


def _wait_until_told(server: Server, told: Callable[[Server], bool]) -> None:
    look_again(server)
    deadline = time.monotonic() + _TOLD_SECONDS
    while time.monotonic() < deadline and not told(server.refreshed()):
        time.sleep(0.1)


def _refuse_twin(base: Path, host: str) -> None:
    for job, plan in living_servers():
        if plan.base == base and plan.host == host:
            message = f"{job.id} serves {plan.base_name} on port {plan.port}."
            raise LuthierError(
                "Already served",
                message,
                "Add the adapter to that server, or choose a --port for a second server.",
            )
