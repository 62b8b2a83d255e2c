"""A server for as long as a command needs one: one that runs or starts already, or one that is
stopped at the end."""

from __future__ import annotations

from contextlib import AbstractContextManager

from jobs.home import jobs_directory
from jobs.job import Job
from models.registry import resolve
from serve.planning import NamedAdapter
from serve.servers import Server
from tui.commands.certify import say_if_red
from tui.commands.output import say_aside, say_done
from tui.commands.progress import follow_job
from tui.commands.runs import stop_and_wait
from tui.commands.serve import follow_start
from workshop import servers


def server_with(
    base: str, adapters: list[NamedAdapter], keep: bool
) -> AbstractContextManager[Server]:
    """A server on this machine that has these adapters. What their certificates warn of is said
    first. `keep` leaves it running."""
    say_if_red({name: jobs_directory() / run for name, _, run in adapters if run is not None})
    return servers.lent(
        base,
        resolve(base).resolve(),
        adapters,
        follow=follow_start if keep else follow_job,
        loaded=lambda server, name: say_done(f"{name} loaded into {server.job.id}"),
        end=_leave if keep else stop_and_wait,
    )


def _leave(job: Job) -> None:
    say_aside(f"{job.id} keeps running. Stop it with: luthier server stop {job.id}")
