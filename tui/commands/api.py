"""`luthier api`: the fine-tuning API for programs."""

from __future__ import annotations

from typing import Any

import click

from jobs.home import home
from jobs.job import Job, all_jobs
from jobs.luthier_error import LuthierError
from jobs.state import Running, State, word
from serve.plan import is_loopback
from tui.commands.output import (
    examples,
    json_option,
    out,
    print_json,
    say_aside,
    say_warning,
    talk,
)
from tui.commands.progress import follow_job
from tui.commands.runs import stop_and_wait
from workshop.api.launch import Api, living_api, start_api
from workshop.api.plan import LARGEST_FILE

_MEGABYTE = 1_000_000


@click.group(
    invoke_without_command=True,
    epilog=examples("luthier api", "luthier api --alias gpt-4o-mini=builtin", "luthier api status"),
)
@click.option(
    "--host",
    default="127.0.0.1",
    show_default=True,
    help="The address to listen on. Anything but loopback lets other machines in.",
)
@click.option(
    "--port",
    type=click.IntRange(1, 65535),
    help="The port. Default: the last one used, or a free one.",
)
@click.option(
    "--alias",
    "aliases",
    multiple=True,
    metavar="NAME=MODEL",
    help="A name that programs use for a model of this home. Repeat the option for several.",
)
@click.option(
    "--largest-file",
    type=click.IntRange(1),
    default=LARGEST_FILE // _MEGABYTE,
    show_default=True,
    metavar="MB",
    help="The largest file that programs may upload, in megabytes.",
)
@click.option(
    "--no-start",
    is_flag=True,
    help="Chat only with models that are served already: never start a server.",
)
@click.option(
    "--allow-remote", is_flag=True, help="Required for a --host that other machines can reach."
)
@json_option
@click.pass_context
def api(
    context: click.Context,
    host: str,
    port: int | None,
    aliases: tuple[str, ...],
    largest_file: int,
    no_start: bool,
    allow_remote: bool,
    as_json: bool,
) -> None:
    """Start the fine-tuning API. Programs that fine-tune and chat through OpenAI's client use it
    with another base URL and key.

    It runs as a job that survives this terminal. The client key reads and chats; uploading,
    training and cancelling need the control key.
    """
    if context.invoked_subcommand is not None:
        return
    if not is_loopback(host) and not allow_remote:
        raise LuthierError(
            "Not for this machine alone",
            f"{host} can be reached from other machines, without TLS; whoever has the control key"
            " can train there, and read what was uploaded.",
            "Add --allow-remote if you want that. The keys are still required.",
        )
    if not is_loopback(host):
        say_warning(f"Listening on {host}: other machines can reach the API, without TLS.")
    started = start_api(
        host,
        port,
        largest_file * _MEGABYTE,
        dict(map(_alias, aliases)),
        starts_servers=not no_start,
    )
    follow_job(started.job, "Starting the API", _runs)
    _show(started, as_json)


@api.command(epilog=examples("luthier api status"))
@json_option
def status(as_json: bool) -> None:
    """Show whether the API is running, with its address and its keys."""
    living = living_api()
    if as_json:
        print_json(None if living is None else _as_json(living))
        return
    if living is None:
        talk.print("The API does not run. `luthier api` starts it.")
        return
    _show(living, as_json)


@api.command(epilog=examples("luthier api stop"))
def stop() -> None:
    """Stop the API. The runs that programs have started keep running."""
    living: list[Job] = [job for job in all_jobs("api") if job.alive()]
    if not living:
        raise LuthierError(
            "The API does not run", "There is nothing to stop.", "`luthier api` starts it."
        )
    stop_and_wait(living[0], now=False)


def _alias(entry: str) -> tuple[str, str]:
    name, equals, model = entry.partition("=")
    if not equals or not name or not model:
        raise click.UsageError(f"--alias {entry}: write it as NAME=MODEL.")
    return name, model


def _runs(state: State) -> bool:
    return isinstance(state, Running)


def _show(living: Api, as_json: bool) -> None:
    if as_json:
        print_json(_as_json(living))
        return
    out.print(living.base_url)
    for name, model in living.plan.aliases.items():
        talk.print(f"  {name} is {model}")
    talk.print(f"  control key  {home() / 'keys' / 'control'}  (uploads, trains, cancels)")
    talk.print(f"  client key   {home() / 'keys' / 'client'}  (reads, chats)")
    say_aside("  docs/api.md has an example · stop: luthier api stop")


def _as_json(living: Api) -> dict[str, Any]:
    return {
        "id": living.job.id,
        "state": word(living.job.state()),
        "base_url": living.base_url,
        "aliases": living.plan.aliases,
        "control_key_file": str(home() / "keys" / "control"),
        "client_key_file": str(home() / "keys" / "client"),
    }
