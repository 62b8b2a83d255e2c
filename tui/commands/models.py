"""`luthier models`."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import click

from jobs.files import folder_bytes
from jobs.home import jobs_directory
from jobs.job import Job
from jobs.luthier_error import LuthierError
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
    say_aside,
    say_warning,
    styled,
    talk,
    write,
)
from tui.commands.progress import follow_to_end
from tui.completion.name_parameter import Name
from tui.models.facts import facts
from tui.shared.certificate_badge import badge
from workshop.number_format import count, size

_WIDE = 110  # cells, from which on ids and licences have room
_what_option = click.option(
    "--what",
    "part",
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
@click.argument("name", type=Name("model"))
@json_option
def path(name: str, as_json: bool) -> None:
    """Print the folder of a model."""
    try:
        folder = registry.resolve(name)
    except LuthierError:
        folder = catalogue.find_entry(name).path
    print_json({"path": str(folder)}) if as_json else write(str(folder))


@models.command(epilog=examples("luthier models show captain"))
@click.argument("name", type=Name("run", "model"))
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
@click.argument("source", type=Name("import source"))
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
            follow_to_end(job, "Preparing the built-in model")
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
@click.argument("name", type=Name("model"))
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


@models.command(
    epilog=examples(
        "luthier models export captain --out captain-export",
        "luthier models export captain --out captain.gguf --as gguf:q8_0",
    )
)
@click.argument("name", type=Name("run", "model"))
@click.option(
    "--out",
    "target",
    required=True,
    type=click.Path(path_type=Path),
    help="The folder to write; with --as gguf:TYPE, the file.",
)
@_what_option
@click.option(
    "--as",
    "form",
    metavar="FORM",
    type=Name("export form"),
    help="Write a smaller or other form: gguf:q8_0, gguf:q4_0, gguf:q4_k_m, gguf:bf16, fp8, int8,"
    " awq, gptq. Of a run, its merged model.",
)
@click.option("--gguf", metavar="TYPE", hidden=True, help="The same as --as gguf:TYPE.")
@click.option("--force", is_flag=True, help="Replace the files of an earlier export.")
@click.option(
    "--sign",
    "key",
    metavar="KEY",
    type=click.Path(path_type=Path),
    help="Sign the folder with this private key (luthier sign), once it is written.",
)
@_detach_option
@json_option
def export(
    name: str,
    target: Path,
    part: Literal["adapter", "merged"] | None,
    form: str | None,
    gguf: str | None,
    force: bool,
    key: Path | None,
    detach: bool,
    as_json: bool,
) -> None:
    """Export a model or a RUN's adapter to a folder, with a model card: recipe, data hashes,
    figures and certificate. With --as, export the whole model in another form, which `luthier
    certify RUN --shipped PATH` certifies. Prints the path."""
    from models.export import launch
    from models.export.formats import form_named
    from tui.commands.verify import check_key, sign_folder

    form = form or (f"gguf:{gguf}" if gguf else None)
    if key is not None:
        if detach or form is not None:
            raise click.UsageError("--sign needs a folder to sign, and waits for it.")
        check_key(key)
    job = (
        launch.start_export(name, target, part, replace=force)
        if form is None
        else launch.start_conversion(name, target, form_named(form), part)
    )
    result = None if detach else _wait(job, f"Exporting {name}")
    if result and "papers" in result and Path(result["path"]).is_file():
        say_aside(f"  Give {Path(result['papers']).name} away with it: `luthier verify` reads it.")
    if key is not None:
        sign_folder(target, key)
    _tell(job, as_json, detach, result)


@models.command(epilog=examples("luthier models push captain me/captain"))
@click.argument("name", type=Name("run", "model"))
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
    part: Literal["adapter", "merged"] | None,
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
    from models.export import launch, leaks

    entry = catalogue.find_entry(name, part or "")
    if entry.run:
        say_if_red({entry.title: jobs_directory() / entry.run})
    if public and entry.run and (leak := leaks.warning(jobs_directory() / entry.run)):
        say_warning(leak)
    job = launch.start_push(
        name, repository, part, private=not public, branch=branch, message=message
    )
    result = None if detach else _wait(job, f"Pushing {entry.title} to {repository}")
    if result is not None and not as_json:
        write(result["url"])
        return
    _tell(job, as_json, detach, result)


def _wait(job: Job, title: str) -> dict[str, Any]:
    """The job's result, once it is done."""
    return follow_to_end(job, title)


def _tell(job: Job | None, as_json: bool, detach: bool, result: dict[str, Any] | None) -> None:
    identity = {"id": job.id, "directory": str(job.directory)} if job is not None else {}
    if as_json:
        print_json({**identity, **(result or {})})
    elif detach and job is not None:
        write(job.id)
    else:
        write((result or {})["path"])


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
        entry.name if entry.kind == "base" else entry.title,
        entry.base,
        f"{count(entry.parameters)}{f' r{entry.rank}' if entry.rank else ''}",
        size(entry.bytes),
        f"{entry.context_length or '–'}",
        entry.template.family if entry.template is not None else "–",
        str(badge(entry.standing)),
        entry.run,
        entry.licence,
    ]
