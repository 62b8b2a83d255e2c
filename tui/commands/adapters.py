"""`luthier server load|unload|pin|unpin`: what a running server holds beside its base model;
`sleep` and `wake`."""

from __future__ import annotations

from collections.abc import Callable

import click

from jobs.files import expanded
from jobs.job import find
from jobs.luthier_error import LuthierError
from jobs.slots import taken_by
from models import registry
from serve import launch, servers
from serve.servers import Server
from serve.sleep import check_sleeps, put_to_sleep, slots_of
from serve.sleep import wake as wake_server
from tui.commands.other_base import say_other_base
from tui.commands.output import examples, json_option, print_json, say_done, talk
from tui.commands.serve import server, server_as_json
from tui.completion.name_parameter import Name
from workshop.served_runs import adapters_named
from workshop.servers import add_adapters

__all__ = ["server"]

on_option = click.option(
    "--on",
    "server_id",
    metavar="ID",
    type=Name("server"),
    help="Which server to use if several are running. Default: the newest.",
)


@server.command(epilog=examples("luthier server load captain"))
@click.argument("runs", nargs=-1, metavar="[RUN[@STEP]]...", type=Name("run"))
@click.option(
    "--adapter",
    "adapter_entries",
    multiple=True,
    metavar="NAME=DIR",
    help="An adapter that does not belong to a run. Repeat the option for several.",
)
@on_option
@json_option
def load(
    runs: tuple[str, ...], adapter_entries: tuple[str, ...], server_id: str | None, as_json: bool
) -> None:
    """Load runs, checkpoints (RUN@STEP, RUN@last) or other adapters into a running server, even
    while the run is still training."""
    running = _running(server_id)
    if not runs and not adapter_entries:
        raise click.UsageError("Name a RUN, a RUN@STEP or an --adapter NAME=DIR.")
    base, adapters = adapters_named(runs) if runs else ("", [])
    if runs and registry.resolve(base).resolve() != running.plan.base:
        message = (
            f"{running.job.id} serves {running.plan.base_name}, but {', '.join(runs)} was trained"
            f" on {base}."
        )
        raise LuthierError(
            "Different base model", message, "Start a server of that base: luthier serve RUN"
        )
    for entry in adapter_entries:
        name, _, directory = entry.partition("=")
        adapters.append((name, expanded(directory).absolute(), None))
    for _, path, _ in adapters:
        say_other_base(path, running.plan.base)
    added = add_adapters(running, adapters)
    for name in added:
        say_done(f"{name} loaded into {running.job.id}")
    if not added:
        talk.print(f"{running.job.id} already serves them.")
    _tell(running, as_json)


@server.command(epilog=examples("luthier server unload captain"))
@click.argument("name", type=Name("served model"))
@on_option
@json_option
def unload(name: str, server_id: str | None, as_json: bool) -> None:
    """Unload an adapter from a running server. Its files stay on disk."""
    _change(launch.detach, name, "unloaded", server_id, as_json)


@server.command(epilog=examples("luthier server pin captain"))
@click.argument("name", type=Name("served model"))
@on_option
@json_option
def pin(name: str, server_id: str | None, as_json: bool) -> None:
    """Keep an adapter in memory, whichever adapters requests need."""
    _change(launch.pin, name, "pinned", server_id, as_json)


@server.command(epilog=examples("luthier server unpin captain"))
@click.argument("name", type=Name("served model"))
@on_option
@json_option
def unpin(name: str, server_id: str | None, as_json: bool) -> None:
    """Let vLLM move an adapter out of memory again when others need the space."""
    _change(launch.unpin, name, "no longer pinned", server_id, as_json)


@server.command(epilog=examples("luthier server sleep"))
@click.argument("server_id", metavar="[ID]", required=False, type=Name("server"))
def sleep(server_id: str | None) -> None:
    """Put a server to sleep, so that it frees its GPU. It wakes at the next request or by `luthier
    server wake`."""
    running = _running(server_id)
    check_sleeps(running.job)
    with talk.status(f"{running.job.id} is finishing its answers and going to sleep"):
        put_to_sleep(running.job)
    say_done(f"{running.job.id} is asleep. `luthier server wake` or the next request wakes it.")


@server.command(epilog=examples("luthier server wake"))
@click.argument("server_id", metavar="[ID]", required=False, type=Name("server"))
def wake(server_id: str | None) -> None:
    """Wake a server, so that it takes its GPU again. It waits for the job that uses the GPU now,
    then goes before all waiting jobs."""
    running = _running(server_id)
    check_sleeps(running.job)
    other_jobs = [job for job in taken_by(slots_of(running.job)) if job.id != running.job.id]
    wake_server(running.job, wait=not other_jobs)
    if other_jobs:
        talk.print(
            f"{running.job.id} wakes when {' and '.join(job.id for job in other_jobs)} is done."
        )
    else:
        say_done(f"{running.job.id} is awake.")


def _change(
    change: Callable[[Server, str], None],
    name: str,
    done: str,
    server_id: str | None,
    as_json: bool,
) -> None:
    running = _running(server_id)
    change(running, name)
    say_done(f"{name} {done}")
    _tell(running, as_json)


def _tell(running: Server, as_json: bool) -> None:
    if as_json:
        print_json(server_as_json(running.job, running.refreshed()))


def _running(server_id: str | None) -> Server:
    if server_id is None:
        return servers.current_server()
    job = find(server_id, "server")
    running_server = next(
        (server for server in servers.running_servers() if server.job.id == job.id), None
    )
    if running_server is None:
        raise LuthierError(
            "Not running",
            f"{job.id} is not serving.",
            "`luthier server status` lists the running servers.",
        )
    return running_server
