"""`luthier plan` and `luthier train`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click
from rich.markup import escape

from jobs.job import Job, find
from jobs.state import Done
from models import registry
from models.builtin import BUILTIN
from trainer import launch
from trainer.methods import consequences
from trainer.plan import Plan
from trainer.recipe import Recipe
from trainer.sweep import load_sweep, start_sweep
from tui.commands.output import few, json_option, out, plain_table, print_json, talk
from tui.commands.progress import follow_job
from tui.commands.sweep import show_sweep, sweep_json
from tui.figures import duration, size
from tui.future_server import future_server, show_future_server
from tui.server_plan import as_json as plan_as_json


@click.command()
@click.argument("recipe", type=click.Path(path_type=Path))
@json_option
def plan(recipe: Path, as_json: bool) -> None:
    """What a recipe comes to on this machine: model, data, steps, how it will be served; of a sweep, how many runs and what varies. Nothing
    runs."""
    sweep = load_sweep(recipe)
    plans = sweep.plans()
    first = plans[0]
    recipe_of_first, directory = sweep.members[0].recipe, Path(first.model_directory)
    alone = consequences(recipe_of_first, directory)
    served = future_server(first.model, directory, 0 if alone else recipe_of_first.lora.r)
    if as_json:
        print_json(sweep_json(sweep, plans) if sweep.axes else {**first.to_json(), "serving": plan_as_json(served, sys.executable)})
        return
    if sweep.axes:
        show_sweep(sweep, plans)
    show_plan(first)
    show_future_server(served, alone)


@click.command()
@click.argument("recipe", type=click.Path(path_type=Path), required=False)
@click.option("--again", metavar="ID", help="Repeat an earlier run with its frozen recipe.")
@click.option("--follow", is_flag=True, help="Stay and show the progress. Ctrl-C leaves; the run goes on.")
@json_option
def train(recipe: Path | None, again: str | None, follow: bool, as_json: bool) -> None:
    """Fine-tune a model in a job that survives this terminal. Prints its id; of a sweep (a recipe with lists of values) one a line."""
    if (recipe is None) == (again is None):
        raise click.UsageError("Give a RECIPE, or --again ID.")
    if recipe is None:
        chosen = launch.frozen_recipe(find(again or "", "run"))
        prepare_model(chosen)
        started = [launch.train(chosen)]
    else:
        sweep = load_sweep(recipe)
        for member in sweep.members:
            prepare_model(member.recipe)
        started = start_sweep(sweep)
    identifier = started[0].spec.settings["sweep"].get("id")
    _tell_started(started, identifier, as_json)
    if follow:
        for job in started:
            _follow(job)
        if identifier:
            talk.print(f"  compare them: luthier sweep {identifier}")
    elif identifier:
        talk.print(f"[dim]{len(started)} runs are queued. Compare them: luthier sweep {identifier}[/]")
    else:
        talk.print(f"[dim]It runs on its own. Progress: luthier log -f {started[0].id}  ·  stop: luthier stop {started[0].id}[/]")


def _tell_started(started: list[Job], sweep: str | None, as_json: bool) -> None:
    if not as_json:
        click.echo("\n".join(job.id for job in started))
    elif sweep is None:
        print_json({"id": started[0].id, "directory": str(started[0].directory)})
    else:
        runs = [
            {"id": job.id, "name": job.spec.name, "directory": str(job.directory), "varies": job.spec.settings["sweep"]["varies"]}
            for job in started
        ]
        print_json({"sweep": sweep, "runs": runs})


def _follow(job: Job) -> None:
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
        **({"memory": made.repaired} if made.repaired else {}),
        "length": f"{made.epochs:g} epochs, {made.steps:,} steps",
        "evaluation": _evaluation(made),
        "waits for": ", ".join(made.slots) + (f" with {size(made.gpu_bytes)} free" if made.gpu_bytes else ""),
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


def _evaluation(made: Plan) -> str:
    outlook = made.evaluation
    if not outlook["evaluations"]:
        return "[dim]none[/]" if made.conversations else "[dim]told by the run[/]"
    times = f"{outlook['evaluations']} times, the first before any training"
    loss = f"loss on {outlook['heldout']:,} conversations" if outlook["heldout"] else ""
    answers = f"{outlook['answers']} answers of at most {outlook['answer_tokens']} tokens" if outlook["answers"] else ""
    metrics = f" for {', '.join(outlook['metrics'])}" if outlook["metrics"] else " to read"
    asked = f"{answers}{metrics} (at most about {duration(max(1.0, outlook['seconds']))} in all)" if answers else ""
    return f"{times}: {', '.join(part for part in (loss, asked) if part)}"


def _format(found: dict[str, Any]) -> str:
    files = [Path(file).name for file in found["files"]]
    more = f" and {len(files) - 3} more" if len(files) > 3 else ""
    unused = f"; not used: {few(found['unused'])}" if found["unused"] else ""
    return escape(f"{', '.join(files[:3])}{more}: {found['reason']}{unused}")
