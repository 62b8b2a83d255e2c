"""`luthier plan` and `luthier train`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click
from rich.markup import escape

from jobs.job import find
from jobs.state import Done
from models import registry
from models.builtin import BUILTIN
from trainer import launch
from trainer.plan import Plan, make_plan
from trainer.recipe import Recipe, load
from tui.commands.output import json_option, out, plain_table, print_json, talk
from tui.commands.progress import follow_job
from tui.figures import duration
from tui.future_server import future_server, show_future_server
from tui.server_plan import as_json as plan_as_json


@click.command()
@click.argument("recipe", type=click.Path(path_type=Path))
@json_option
def plan(recipe: Path, as_json: bool) -> None:
    """What a recipe comes to on this machine: model, data, steps. Nothing runs."""
    read = load(recipe)
    made = make_plan(read)
    served = future_server(made.model, Path(made.model_directory), read.lora.r)
    if as_json:
        print_json({**made.to_json(), "serving": plan_as_json(served, sys.executable)})
        return
    show_plan(made)
    show_future_server(served)


@click.command()
@click.argument("recipe", type=click.Path(path_type=Path), required=False)
@click.option("--again", metavar="ID", help="Repeat an earlier run with its frozen recipe.")
@click.option("--follow", is_flag=True, help="Stay and show the progress. Ctrl-C leaves; the run goes on.")
@json_option
def train(recipe: Path | None, again: str | None, follow: bool, as_json: bool) -> None:
    """Fine-tune a model in a job that survives this terminal. Prints the job's id."""
    if (recipe is None) == (again is None):
        raise click.UsageError("Give a RECIPE, or --again ID.")
    chosen = load(recipe) if recipe is not None else launch.frozen_recipe(find(again or "", "run"))
    prepare_model(chosen)
    job = launch.train(chosen)
    if as_json:
        print_json({"id": job.id, "directory": str(job.directory)})
    else:
        click.echo(job.id)
    if not follow:
        talk.print(f"[dim]It runs on its own. Progress: luthier log -f {job.id}  ·  stop: luthier stop {job.id}[/]")
        return
    try:
        state = follow_job(job, f"Training {job.spec.name}", lambda state: isinstance(state, Done))
    except KeyboardInterrupt:
        talk.print(f"{job.id} goes on. `luthier log -f {job.id}` follows it, `luthier stop {job.id}` stops it.")
        raise
    if isinstance(state, Done):
        loss, seconds = state.result.get("eval_loss") or state.result.get("loss") or 0.0, float(state.result.get("seconds", 0))
        talk.print(f"  loss {loss:.3f} after {state.result.get('steps')} steps in {duration(seconds)}; serve it: luthier serve {job.id}")


def prepare_model(recipe: Recipe) -> None:
    """Make the built-in model if the recipe wants it and it is not there yet."""
    job = registry.prepare_builtin() if recipe.model == BUILTIN else None
    if job is not None:
        follow_job(job, "Preparing the built-in model", lambda state: isinstance(state, Done))


def show_plan(made: Plan) -> None:
    table = plain_table("", "")
    rows = {
        "model": f"{made.model} [dim]{made.model_directory}[/]",
        "data": _data(made),
        **{f"format{'' if number == 0 else f' {number + 1}'}": _format(found) for number, found in enumerate(made.formats)},
        "engine": f"{made.engine} on {'one GPU' if made.device == 'gpu' else 'the CPU'}",
        "batch": f"{made.global_batch} conversations a step ({made.micro_batch} at a time, accumulated {made.accumulation} times)",
        "length": f"{made.epochs:g} epochs, {made.steps:,} steps",
        "waits for": ", ".join(made.slots),
    }
    for name, value in rows.items():
        table.add_row(f"[dim]{name}[/]", value)
    out.print(table)
    policies = plain_table("policy", "choice", "met", "what it is about")
    for policy in made.policies:
        choice = f"[bold]{policy['choice']}[/]" if policy["changed"] else policy["choice"]
        about = f"{policy['meets']}: {policy['repair']}" if policy["choice"] in ("repair", "split") else policy["meets"]
        policies.add_row(policy["name"], choice, str(made.met.get(policy["name"], "")), f"[dim]{about}[/]")
    out.print(policies)


def _data(made: Plan) -> str:
    if not made.conversations:
        return "[dim]counted by the run[/]"
    about = "" if made.exact else "about "
    return f"{about}{made.conversations:,} conversations, {made.heldout:,} of them held out for evaluation"


def _format(found: dict[str, Any]) -> str:
    files = [Path(file).name for file in found["files"]]
    more = f" and {len(files) - 3} more" if len(files) > 3 else ""
    unused = f"; not used: {', '.join(found['unused'])}" if found["unused"] else ""
    return escape(f"{', '.join(files[:3])}{more}: {found['reason']}{unused}")
