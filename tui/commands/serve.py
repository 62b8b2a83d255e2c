"""`luthier serve` and `luthier server`."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click
from rich.text import Text

from jobs.files import expanded
from jobs.home import home, jobs_directory
from jobs.job import Job, all_jobs, find
from jobs.luthier_error import LuthierError
from jobs.state import Done, Running, State, word
from models import registry
from models.builtin import BUILTIN
from models.merge.launch import merge_settings, start_merge
from models.runs import AsModel, NeedsMerge, Run
from serve import launch, servers
from serve.plan import ServerPlan, is_loopback, run_of
from serve.planning import NamedAdapter, Outlook, ServeOptions, look_ahead
from serve.servers import Server
from tui.commands.certify import say_if_red
from tui.commands.other_base import say_other_base
from tui.commands.output import (
    examples,
    json_option,
    out,
    plain_table,
    print_json,
    print_lines,
    say_aside,
    say_done,
    say_warning,
    styled,
    talk,
    write,
)
from tui.commands.progress import follow_job
from tui.commands.runs import stop_and_wait
from tui.completion.name_parameter import Name
from tui.serve.server_plan import NOTICED, command_line, rows
from tui.serve.server_plan import as_json as plan_as_json
from workshop.number_format import age
from workshop.served_runs import adapters_named, own_model
from workshop.servers import add_adapters, once_started, running_or_starting


@click.command(epilog=examples("luthier serve captain", "luthier serve --model builtin"))
@click.argument("runs", nargs=-1, metavar="[RUN]...", type=Name("run"))
@click.option(
    "--model",
    type=Name("model"),
    help="The base model: a name or a folder. Not needed if you name runs.",
)
@click.option(
    "--adapter",
    "adapter_entries",
    multiple=True,
    metavar="NAME=DIR",
    help="An adapter that does not belong to a run. Repeat the option for several.",
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
    "--context-length",
    type=click.IntRange(min=16),
    help="The context length in tokens. Default: the model's; on a CPU at most 4096.",
)
@click.option(
    "--gpus",
    type=click.IntRange(1),
    default=1,
    help="How many GPUs share the model (tensor parallel). Default: 1.",
)
@click.option(
    "--gpu-memory",
    type=click.FloatRange(0.05, 0.99),
    default=0.9,
    help="The share of each GPU's memory to use. Default: 0.9, or whatever is free.",
)
@click.option(
    "--max-rank",
    type=click.IntRange(1, 512),
    help="Allow adapters up to this rank. Default: the highest rank of the adapters, at least 16.",
)
@click.option(
    "--tool-parser",
    metavar="NAME|none",
    help="vLLM's parser for tool calls. Default: chosen by the model's chat template.",
)
@click.option(
    "--reasoning-parser",
    metavar="NAME|none",
    help="vLLM's parser for reasoning. Default: chosen by the model's chat template.",
)
@click.option(
    "--log-content",
    is_flag=True,
    help=(
        "Also log the text of requests and answers. Otherwise the request log contains only counts."
    ),
)
@click.option(
    "--no-sleep",
    is_flag=True,
    help="Keep the GPU all the time: never sleep to let runs use it (vLLM's sleep mode stays off).",
)
@click.option(
    "--allow-remote", is_flag=True, help="Required for a --host that other machines can reach."
)
@click.option(
    "--allow-origin",
    "origins",
    multiple=True,
    metavar="URL",
    help="Allow requests from web pages of this origin, for example http://localhost:3000",
)
@click.option("--plan", "only_plan", is_flag=True, help="Show the plan and start nothing.")
@click.option(
    "--vllm",
    "extra",
    multiple=True,
    metavar="ARG",
    help="Pass an argument on to vLLM: --vllm=--max-num-seqs=8",
)
@json_option
def serve(
    runs: tuple[str, ...],
    model: str | None,
    adapter_entries: tuple[str, ...],
    host: str,
    port: int | None,
    context_length: int | None,
    gpus: int,
    gpu_memory: float,
    max_rank: int | None,
    tool_parser: str | None,
    reasoning_parser: str | None,
    log_content: bool,
    no_sleep: bool,
    allow_remote: bool,
    origins: tuple[str, ...],
    only_plan: bool,
    extra: tuple[str, ...],
    as_json: bool,
) -> None:
    """Serve a base model and tuned models through one OpenAI-compatible endpoint, in a job that
    outlives this terminal.

    RUN@STEP (or RUN@last) is a checkpoint, even of a run that is still training. If a server of the
    same base is already running, it loads the adapters. If vLLM cannot serve a run beside its base
    (new tokens, DoRA), Luthier merges it first; a run that trained every weight is served as a
    model of its own.
    """
    options = ServeOptions(
        context_length=context_length,
        gpus=gpus,
        gpu_memory=gpu_memory,
        max_lora_rank=max_rank,
        tool_parser=tool_parser,
        reasoning_parser=reasoning_parser,
        log_content=log_content,
        can_sleep=not no_sleep,
        extra_args=list(extra),
        allowed_origins=origins,
    )
    base, adapters = _to_serve(runs, model, adapter_entries, merge=not only_plan)
    if only_plan:
        show_plan(look_ahead(_prepared(base), base, adapters, host, port, options), as_json)
        return
    if not is_loopback(host) and not allow_remote:
        message = (
            f"Other machines can reach {host}, without TLS, and anyone with the client key can"
            " use the server."
        )
        raise LuthierError(
            "Other machines could reach this server",
            message,
            "Add --allow-remote if you want that. The key is still required.",
        )
    directory = _prepared(base)
    _say_what_is_red(base, directory, adapters)
    _say_if_alone(base, is_chosen=bool(runs or model or adapters))
    for _, path, _ in adapters:
        say_other_base(path, directory)
    running = None if port else running_or_starting(directory, host, follow_start)
    if running is not None:
        for_new = any(
            (
                context_length,
                max_rank,
                tool_parser,
                reasoning_parser,
                log_content,
                extra,
                origins,
                gpus > 1,
            )
        )
        _show_server(_added_to(running, adapters, for_new), as_json)
        return
    job = launch.serve(base, adapters, host, port, options)
    warning = ServerPlan.from_json(job.spec.settings).warning
    if warning:
        say_warning(warning)
    _show_server(once_started(job, follow_start), as_json)


def _added_to(running: Server, adapters: list[NamedAdapter], for_new: bool) -> Server:
    """The server that runs already, with the adapters. `for_new`: something was chosen that only a
    new server can have."""
    for name in add_adapters(running, adapters):
        say_done(f"{name} loaded into {running.job.id}")
    if for_new:
        say_warning(
            f"{running.job.id} is already running, and the other options are for a new server."
            " Stop it first, or choose a --port."
        )
    return running.refreshed()


def _say_if_alone(base: str, *, is_chosen: bool) -> None:
    """Before a server starts for a minute that somebody may have meant otherwise."""
    if not is_chosen:
        say_aside(f"No run is named: {base} alone is served. `luthier serve RUN` adds its model.")


def _say_what_is_red(base: str, directory: Path, adapters: list[NamedAdapter]) -> None:
    """Certificates of the runs behind the adapters, and behind a base that is a run's model."""
    own_run = run_of(directory)
    tuned = {name: run for name, _, run in adapters if run is not None} | (
        {base: own_run} if own_run is not None else {}
    )
    say_if_red({name: jobs_directory() / run for name, run in tuned.items()})


@click.group(epilog=examples("luthier server status", "luthier server stop"))
def server() -> None:
    """Show, control and stop the running servers."""


@server.command(epilog=examples("luthier server status"))
@json_option
def status(as_json: bool) -> None:
    """Show every running server: state, address and models."""
    living = [job for job in all_jobs("server") if job.alive()]
    ready = {server.job.id: server for server in servers.running_servers()}
    if as_json:
        print_json([server_as_json(job, ready.get(job.id)) for job in living])
        return
    if not living:
        talk.print("No server is running. `luthier serve RUN` starts one.")
        return
    addresses, models = [], []
    for job in living:
        ready_server = ready.get(job.id)
        addresses.append(ready_server.base_url if ready_server else "")
        models.append(", ".join(entry.id for entry in ready_server.models) if ready_server else "")
    columns = (
        ("id", [job.id for job in living]),
        ("state", [word(job.state()) for job in living]),
        ("address", addresses),
        ("models", models),
        ("age", [age(job.created) for job in living]),
    )
    print_lines(columns, "models")


@server.command(epilog=examples("luthier server stop"))
@click.argument("job_id", metavar="[ID]", required=False, type=Name("server"))
@click.option("--now", is_flag=True, help="Stop at once, without finishing its answers.")
def stop(job_id: str | None, now: bool) -> None:
    """Stop a server (the only one, if no ID is given)."""
    living = (
        [find(job_id, "server")] if job_id else [job for job in all_jobs("server") if job.alive()]
    )
    if not living:
        raise LuthierError(
            "No server is running", "There is nothing to stop.", "`luthier serve RUN` starts one."
        )
    if len(living) > 1:
        raise LuthierError(
            "More than one server is running",
            ", ".join(job.id for job in living),
            "Name the one to stop: luthier server stop ID",
        )
    stop_and_wait(living[0], now)


def follow_start(job: Job, title: str, is_reached: Callable[[State], bool]) -> None:
    """Show the phases of the start. The server keeps starting if this is interrupted."""
    try:
        follow_job(job, title, is_reached)
    except KeyboardInterrupt:
        talk.print(
            f"{job.id} is still starting. `luthier server status` shows its progress, `luthier"
            f" server stop {job.id}` stops it."
        )
        raise


def show_plan(outlook: Outlook, as_json: bool) -> None:
    """A server's plan on stdout."""
    if as_json:
        print_json(plan_as_json(outlook, sys.executable))
        return
    table = plain_table("", "", "")
    for name, value, why in rows(outlook):
        colour = "yellow" if name in NOTICED else "bold"
        table.add_row(Text(name, "dim"), Text(value, colour), styled("[dim]$why[/]", why=why))
    out.print(table)
    out.print()
    write(command_line(outlook.plan, sys.executable))


def _to_serve(
    runs: tuple[str, ...], model: str | None, adapter_entries: tuple[str, ...], *, merge: bool
) -> tuple[str, list[NamedAdapter]]:
    """The base and the adapters that the command line names. `merge`: a run that must be merged
    first is."""
    alone = len(runs) == 1 and not adapter_entries and model is None
    for run in (Run.named(text) for text in runs if "@" not in text):
        if not alone and isinstance(run.served_as(), AsModel | NeedsMerge):
            raise LuthierError(
                "It needs a server of its own",
                f"{run.id} is served as a whole model, so its base and other runs need another"
                " server.",
                f"luthier serve {run.id} --port PORT",
            )
        merged = own_model(run, merge_first if merge else None)
        if merged is not None:
            return merged.name, []
    base, adapters = adapters_named(runs) if runs else (BUILTIN, [])
    for entry in adapter_entries:
        name, equals, directory = entry.partition("=")
        if not equals or not directory:
            raise click.UsageError(f"--adapter {entry}: write NAME=DIR.")
        adapters.append((name, expanded(directory).absolute(), None))
    return model or base, adapters


def merge_first(run: Run) -> None:
    """Merge a run whose adapter vLLM does not take, with its progress."""
    follow_job(
        start_merge(merge_settings(run), run),
        f"Merging {run.name}, which vLLM cannot serve as an adapter",
        lambda state: isinstance(state, Done),
    )


def _prepared(base: str) -> Path:
    job = registry.prepare_builtin() if base == BUILTIN else None
    if job is not None:
        follow_job(
            job,
            "Preparing the built-in model",
            lambda state: not isinstance(state, Running) and not job.alive(),
        )
    return registry.resolve(base).resolve()


def _show_server(server: Server, as_json: bool) -> None:
    if as_json:
        print_json(server_as_json(server.job, server))
        return
    out.print(f"{server.base_url}/v1")
    talk.print(f"  models   {', '.join(entry.id for entry in server.models)}")
    talk.print(f"  API key  {home() / 'keys' / 'client'}")
    say_aside(
        f"  chat: luthier chat · the app: luthier · stop: luthier server stop {server.job.short_id}"
    )


def server_as_json(job: Job, server: Server | None) -> dict[str, Any]:
    answer: dict[str, Any] = {
        "id": job.id,
        "state": word(job.state()),
        "directory": str(job.directory),
    }
    if server is not None:
        models = [{**asdict(entry), "path": str(entry.path)} for entry in server.models]
        answer |= {
            "base_url": f"{server.base_url}/v1",
            "models": models,
            "key_file": str(home() / "keys" / "client"),
        }
    return answer
