"""`luthier models`."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any, Literal

import click

from jobs.files import folder_bytes
from jobs.home import jobs_directory
from jobs.job import Job
from jobs.luthier_error import LuthierError
from jobs.state import Done
from models import catalogue, registry
from models.builtin import BUILTIN, builtin_directory
from models.catalogue import Entry
from tui.commands.certify import say_if_red
from tui.commands.output import (
    confirm,
    examples,
    json_option,
    out,
    plain_table,
    print_json,
    say_warning,
    styled,
    talk,
    write,
)
from tui.commands.progress import follow_job
from tui.models.facts import facts
from tui.shared.certificate_badge import badge
from workshop.number_format import count, size

_WIDE = 110  # cells, from which on ids and licences have room
_what_option = click.option(
    "--what",
    "form",
    type=click.Choice(["adapter", "merged"]),
    help="For a run: its adapter (the default) or its merged model.",
)
_detach_option = click.option("--detach", is_flag=True, help="Do not wait; print the job's id.")


@click.group(
    invoke_without_command=True,
    epilog=examples("luthier models", "luthier models import hub:Qwen/Qwen3-0.6B"),
)
@json_option
@click.pass_context
def models(context: click.Context, as_json: bool) -> None:
    """List, import, export and remove models: base, tuned and merged."""
    if context.invoked_subcommand is None:
        _list(as_json)


@models.command("list", epilog=examples("luthier models list"))
@json_option
def list_command(as_json: bool) -> None:
    """List the models with size, context length, template and certificate."""
    _list(as_json)


@models.command(epilog=examples("luthier models path builtin"))
@click.argument("name")
@json_option
def path(name: str, as_json: bool) -> None:
    """Print the folder of a model."""
    try:
        folder = registry.resolve(name)
    except LuthierError:
        folder = catalogue.find_entry(name).path
    print_json({"path": str(folder)}) if as_json else write(str(folder))


@models.command(epilog=examples("luthier models show captain"))
@click.argument("name")
@click.option(
    "--what",
    "form",
    type=click.Choice(["adapter", "merged"]),
    help="For a run: its adapter (the default) or its merged model.",
)
@json_option
def show(name: str, form: Literal["adapter", "merged"] | None, as_json: bool) -> None:
    """Show everything about a model: its origin, template and licence, and what depends on it."""
    entry = catalogue.find_entry(name, form or "")
    users = catalogue.uses(entry)
    if as_json:
        print_json({**entry.to_json(), "used_by": [vars(use) for use in users]})
        return
    standing = entry.standing
    table = plain_table("", "")
    for title, value in [("name", entry.name), *facts(entry, users)]:
        table.add_row(styled("[dim]$title[/]", title=title), value)
    if standing.verdict is not None:
        table.add_row(
            styled("[dim]certificate[/]"),
            f"{badge(standing)}{f': {standing.reason}' if standing.reason else ''}",
        )
    out.print(styled("[bold]$title[/]  [dim]$kind model[/]", title=entry.title, kind=entry.kind))
    out.print(table)
    for warning in (*entry.warnings, *([entry.damage] if entry.damage else [])):
        out.print(styled("[yellow]![/] $warning", warning=warning))


@models.command(
    "import",
    epilog=examples("luthier models import builtin", "luthier models import hub:Qwen/Qwen3-0.6B"),
)
@click.argument("source")
@click.option("--name", help="The model's name (default: taken from its source).")
@click.option("--link", is_flag=True, help="For a folder: add it under a name without copying it.")
@click.option(
    "--trust",
    default="",
    metavar="OWNER/NAME",
    help="Also import this repository's code and pickled weights, because you trust its authors.",
)
@_detach_option
@json_option
def import_command(
    source: str, name: str | None, link: bool, trust: str, detach: bool, as_json: bool
) -> None:
    """Import a model: a folder, a GGUF file, hub:owner/name[@revision], or the word builtin. Prints
    its folder.

    From the hub, Luthier downloads only configuration, tokenizer and safetensors. An interrupted
    import continues where it stopped.
    """
    from models.imports import launch

    if source == BUILTIN:
        job = registry.prepare_builtin()
        if job is not None and not detach:
            follow_job(job, "Preparing the built-in model", _is_done)
        _tell(job, as_json, detach, {"path": str(builtin_directory()), "name": BUILTIN})
        return
    if link:
        linked = launch.link(source, name)
        print_json({"path": str(linked), "name": linked.name}) if as_json else write(str(linked))
        return
    job = launch.start_import(source, name, trust)
    result = (
        None
        if detach
        else _wait(job, f"Importing {source if source.startswith('hub:') else Path(source).name}")
    )
    for warning in (result or {}).get("warnings", []):
        say_warning(warning)
    _tell(job, as_json, detach, result)


@models.command(epilog=examples("luthier models remove captain"))
@click.argument("name")
@click.option("--yes", is_flag=True, help="Do not ask for confirmation.")
@json_option
def remove(name: str, yes: bool, as_json: bool) -> None:
    """Delete a model, or forget a linked one (its folder stays). First says what depends on it;
    refuses while a job uses it."""
    from models.imports import launch

    left = next((part for part in launch.unfinished() if part.name == name), None)
    if left is not None:
        if not yes:
            confirm(
                f"Delete the incomplete import {name} ({size(left.bytes)}, from {left.source})?"
            )
        launch.discard(left)
        if as_json:
            print_json({"removed": name, "path": str(left.path)})
        return
    entry = catalogue.find_entry(name)
    users = catalogue.uses(entry)
    for use in users:
        say_warning(f"needed by {use}", use.id)
    if (
        not yes
        and not any(use.alive for use in users)
        and not (entry.kind in ("tuned", "full") and entry.run)
    ):
        question = (
            f"Forget {entry.name} (its folder stays)?"
            if entry.link
            else f"Delete {entry.path} ({size(folder_bytes(entry.path))})?"
        )
        confirm(question)
    catalogue.remove(entry)
    talk.print(f"{entry.name} is {'forgotten; its folder stays' if entry.link else 'deleted'}.")
    if as_json:
        print_json(
            {
                "removed": entry.name,
                "path": str(entry.path),
                "used_by": [vars(use) for use in users],
            }
        )


@models.command(epilog=examples("luthier models export captain --out captain-export"))
@click.argument("name")
@click.option(
    "--out",
    "target",
    required=True,
    type=click.Path(path_type=Path),
    help="The folder to write; with --gguf, the file.",
)
@_what_option
@click.option(
    "--gguf",
    metavar="TYPE",
    help="Write a GGUF file of this type (f16, bf16, q8_0 ...) with llama.cpp's converter.",
)
@click.option("--force", is_flag=True, help="Replace the files of an earlier export.")
@_detach_option
@json_option
def export(
    name: str,
    target: Path,
    form: Literal["adapter", "merged"] | None,
    gguf: str | None,
    force: bool,
    detach: bool,
    as_json: bool,
) -> None:
    """Export a model or a RUN's adapter to a folder, with a model card: recipe, data hashes,
    figures and certificate. Prints the folder."""
    from models.export import launch

    into_folder = partial(launch.start_export, name, target, form, replace=force)
    job = into_folder() if gguf is None else launch.start_gguf(name, target, gguf, form)
    _tell(job, as_json, detach, None if detach else _wait(job, f"Exporting {name}"))


@models.command(epilog=examples("luthier models push captain me/captain"))
@click.argument("name")
@click.argument("repository", metavar="OWNER/NAME")
@_what_option
@click.option(
    "--public",
    is_flag=True,
    help="Make a new repository public (default: private).",
)
@click.option("--branch", default="", help="The branch to commit to (default: main).")
@click.option("--message", default="", help="The commit message.")
@_detach_option
@json_option
def push(
    name: str,
    repository: str,
    form: Literal["adapter", "merged"] | None,
    public: bool,
    branch: str,
    message: str,
    detach: bool,
    as_json: bool,
) -> None:
    """Push a model or a RUN's adapter to the hub, with its model card. Prints the address of the
    page. Needs a token with write access: HF_TOKEN, or `hf auth login`. After an interruption, it
    skips the files that the hub already has.
    """
    from models.export import launch

    entry = catalogue.find_entry(name, form or "")
    if entry.run:
        say_if_red({entry.title: jobs_directory() / entry.run})
    job = launch.start_push(
        name, repository, form, private=not public, branch=branch, message=message
    )
    result = None if detach else _wait(job, f"Pushing {entry.title} to {repository}")
    if result is not None and not as_json:
        write(result["url"])
        return
    _tell(job, as_json, detach, result)


def _wait(job: Job, title: str) -> dict[str, Any]:
    """The job's result, once it is done."""
    try:
        state = follow_job(job, title, _is_done)
    except KeyboardInterrupt:
        talk.print(
            f"{job.id} keeps running. `luthier log -f {job.id}` follows it, `luthier stop"
            f" {job.id}` stops it."
        )
        raise
    return state.result if isinstance(state, Done) else {}


def _tell(job: Job | None, as_json: bool, detach: bool, result: dict[str, Any] | None) -> None:
    identity = {"id": job.id, "directory": str(job.directory)} if job is not None else {}
    if as_json:
        print_json({**identity, **(result or {})})
    elif detach and job is not None:
        write(job.id)
    else:
        write((result or {})["path"])


def _is_done(state: object) -> bool:
    return isinstance(state, Done)


def _list(as_json: bool) -> None:
    from models.imports.launch import unfinished

    entries, left = catalogue.list_entries(), unfinished()
    if as_json:
        print_json([entry.to_json() for entry in entries])
        return
    wide = out.width >= _WIDE
    table = plain_table(
        "kind",
        "name",
        "base",
        ">weights",
        ">size",
        ">context",
        "template",
        "certificate",
        *(["id", "licence"] if wide else []),
    )
    for entry in entries:
        cells = _cells(entry)
        table.add_row(*cells if wide else cells[:-2])
    out.print(table)
    for entry in entries:
        if entry.damage:
            say_warning(f"{entry.title}: {entry.damage}", str(entry.path))
        elif not entry.ready:
            why = (
                "is not prepared: `luthier models import builtin`"
                if entry.name == BUILTIN
                else f"is {entry.note}"
            )
            say_warning(f"{entry.name} {why}")
    for part in left:
        say_warning(
            f"{part.name} is incomplete ({size(part.bytes)}): `luthier models import"
            f" {part.source} --name {part.name}` continues."
        )


def _cells(entry: Entry) -> list[str]:
    if not entry.ready:
        state = "damaged" if entry.damage else ""
        return [entry.kind, entry.title, *[""] * 5, state, entry.run, ""]
    return [
        entry.kind,
        entry.title if entry.kind in ("tuned", "full") else entry.name,
        entry.base,
        f"{count(entry.parameters)}{f' r{entry.rank}' if entry.rank else ''}",
        size(entry.bytes),
        f"{entry.context_length or '–'}",
        entry.template.family if entry.template is not None else "–",
        str(badge(entry.standing)),
        entry.run,
        entry.licence,
    ]
