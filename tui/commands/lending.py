"""A server for as long as a command needs one: one that runs or starts already, or one that is
stopped at the end."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from jobs.home import jobs_directory
from models.registry import resolve
from serve import launch
from serve.launch import NamedAdapter
from serve.servers import Server
from tui.commands.certify import say_if_red
from tui.commands.output import say_aside, say_done
from tui.commands.runs import stop_and_wait
from tui.commands.serve import running_or_starting, wait_until_ready
from workshop.serving import add_adapters

_HOST = "127.0.0.1"


@contextmanager
def server_with(base: str, adapters: list[NamedAdapter], keep: bool) -> Iterator[Server]:
    """A server on this machine that has these adapters. What their certificates warn of is said
    first. `keep` leaves it running."""
    say_if_red({name: jobs_directory() / run for name, _, run in adapters if run is not None})
    found = running_or_starting(resolve(base).resolve(), _HOST)
    if found is not None:
        for name in add_adapters(found, adapters):
            say_done(f"{name} loaded into {found.job.id}")
        yield found.refreshed()
        return
    started = launch.serve(base, adapters, _HOST)
    try:
        yield wait_until_ready(started, interruptible=not keep)
    finally:
        if keep:
            say_aside(f"{started.id} goes on running. Stop it: luthier server stop {started.id}")
        else:
            stop_and_wait(started)
