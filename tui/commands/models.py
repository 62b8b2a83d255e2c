"""`luthier models`."""

from __future__ import annotations

import shutil
from pathlib import Path

import click

from jobs.errors import LuthierError
from jobs.home import models_directory
from jobs.state import Done
from models import registry
from models.builtin import BUILTIN
from tui.commands.output import json_option, out, plain_table, print_json, talk
from tui.commands.progress import follow_job


@click.group(invoke_without_command=True)
@json_option
@click.pass_context
def models(context: click.Context, as_json: bool) -> None:
    """The base models at hand."""
    if context.invoked_subcommand is None:
        _list(as_json)


@models.command("list")
@json_option
def list_command(as_json: bool) -> None:
    """Names, sizes and context lengths."""
    _list(as_json)


@models.command()
@click.argument("name")
def path(name: str) -> None:
    """The folder of a model."""
    click.echo(registry.resolve(name))


@models.command("import")
@click.argument("source")
@click.option("--name", help="What to call it (default: the folder's name).")
def import_command(source: str, name: str | None) -> None:
    """Prepare the built-in model, or make a model folder known by a name (by a link: nothing is copied)."""
    if source == BUILTIN:
        job = registry.prepare_builtin()
        if job is not None:
            follow_job(job, "Preparing the built-in model", lambda state: isinstance(state, Done))
        click.echo(registry.resolve(BUILTIN))
        return
    directory = registry.resolve(str(Path(source).expanduser().absolute()))
    link = models_directory() / registry.valid_name(name or directory.name)
    if link.exists() or link.is_symlink():
        raise LuthierError("The name is taken", f"{link} is there already.", "Choose another with --name.")
    models_directory().mkdir(parents=True, exist_ok=True)
    link.symlink_to(directory, target_is_directory=True)
    click.echo(link)


@models.command()
@click.argument("name")
@click.option("--yes", is_flag=True, help="Do not ask.")
def remove(name: str, yes: bool) -> None:
    """Forget an imported model (its folder stays), or delete the prepared built-in one."""
    place = models_directory() / registry.valid_name(name)
    if not place.exists() and not place.is_symlink():
        raise LuthierError("No such model", f"{place} is not there.", "`luthier models` lists them.")
    if place.is_symlink():
        place.unlink()
        talk.print(f"{name} is forgotten; its folder stays.")
        return
    size = sum(file.stat().st_size for file in place.rglob("*") if file.is_file())
    if not yes:
        click.confirm(f"Delete {place} ({size / 1e6:.0f} MB)?", abort=True, err=True)
    shutil.rmtree(place)


def _list(as_json: bool) -> None:
    found = registry.list_models()
    if as_json:
        print_json([{**vars(model), "path": str(model.path)} for model in found])
        return
    table = plain_table("name", ">weights", ">size", ">context", "state", "")
    for model in found:
        weights = f"{model.parameters / 1e6:,.0f} M" if model.parameters else "–"
        size = f"{model.bytes / 1e6:,.0f} MB" if model.bytes else "–"
        state = "✓ ready" if model.ready else "○ `luthier models import builtin`" if model.name == BUILTIN else "✗"
        table.add_row(model.name, weights, size, f"{model.context_length or '–'}", state, model.note)
    out.print(table)
