"""`luthier plan` and `luthier train`."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
from rich.text import Text

from jobs.event_kinds import Waiting, newest
from jobs.giving_way import SETTING
from jobs.job import Job
from jobs.queue import NotWaiting
from jobs.state import Done, Queued
from models import registry
from models.builtin import BUILTIN
from models.runs import Run
from serve import launch as serving
from serve.plan import BASE
from serve.planning import ServeOptions
from trainer import launch
from trainer.data_recipe import name_of_data
from trainer.plan.cluster_files import Kind, emit
from trainer.plan.memory.cards import card, what_if
from trainer.plan.methods import consequences
from trainer.plan.plan import Plan, make_plan
from trainer.recipe import Recipe
from trainer.sweep import Sweep, recipes_of, start_sweep
from tui.commands.asked_runs import asked_for, model_option, offering_changes, save, set_option
from tui.commands.events import outcome_text
from tui.commands.output import (
    choose,
    examples,
    few,
    json_option,
    out,
    plain_table,
    print_json,
    say_aside,
    say_done,
    say_warning,
    styled,
    talk,
    write,
)
from tui.commands.progress import follow_job, follow_to_end
from tui.commands.serve import follow_start, merge_first
from tui.commands.sweep import show_sweep, sweep_json
from tui.completion.name_parameter import Name
from tui.runs import memory_text, plan_text
from tui.runs.memory_text import Line
from tui.serve.future_server import beyond_server, future_server, show_future_server
from tui.serve.server_plan import as_json as plan_as_json
from workshop import gpu_conflict
from workshop.chat_with_run import have_it_serve, server_job
from workshop.gpu_conflict import CHOICES, Choice, open_question
from workshop.number_format import size
from workshop.runs.forecast import earlier_speed, forecast
from workshop.served_runs import own_model
from workshop.servers import LOCALHOST, once_ready, once_started, server_of

_ASK_SECONDS = 5.0


@click.command(
    epilog=examples("luthier plan mine.toml", "luthier plan mine.jsonl --save mine.toml")
)
@click.argument("recipe", type=Name("recipe file", "data file", as_path=True))
@model_option
@set_option
@click.option(
    "--save",
    "saved",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Write a recipe for a data file to FILE, so that you can change it.",
)
@click.option(
    "--memory",
    "with_memory",
    is_flag=True,
    help="Also show what would fit on which card: bits, checkpointing, batches, lengths.",
)
@click.option(
    "--emit",
    "kind",
    type=click.Choice(["slurm", "skypilot"]),
    help="Write a file that runs the recipe on a cluster instead.",
)
@click.option(
    "--machines",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="How many machines that file requests.",
)
@json_option
def plan(
    recipe: Path,
    model: str | None,
    changes: tuple[str, ...],
    saved: Path | None,
    with_memory: bool,
    kind: Kind | None,
    machines: int,
    as_json: bool,
) -> None:
    """Show how a recipe, or a data file with the defaults, would run on this machine: model, data,
    settings with their reasons, memory, steps and serving; for a sweep, its runs and what varies.
    Starts nothing."""
    asked, is_of_data = asked_for(recipe, model, changes)
    if saved is not None:
        if not is_of_data or isinstance(asked, Sweep):
            raise click.UsageError(
                f"--save writes a recipe for a data file, but {recipe} is already a recipe."
            )
        save(asked, changes, saved)
    if kind is not None:
        if is_of_data or changes:
            raise click.UsageError("--emit needs a recipe file, which --save FILE writes.")
        write(emit(kind, asked, recipe, machines), end="")
        return
    recipes = recipes_of(asked)
    with offering_changes(recipe, model, changes):
        plans = [make_plan(each) for each in recipes]
    first, recipe_of_first = plans[0], recipes[0]
    directory = Path(first.model_directory)
    alone = consequences(recipe_of_first, directory)
    served = future_server(first.model, directory, 0 if alone else recipe_of_first.lora.r)
    warnings = [
        *(warning for each in plans for warning in each.warnings),
        *beyond_server(min(first.longest, first.max_length), first.positions, served),
    ]
    first = replace(first, warnings=[*dict.fromkeys(warnings)])
    cards = what_if(recipe_of_first, first) if with_memory else None
    if as_json:
        fitting = {} if cards is None else {"cards": memory_text.as_json(cards)}
        plan_json = {**first.to_json(), **fitting, "serving": plan_as_json(served, sys.executable)}
        print_json(sweep_json(asked, plans) if isinstance(asked, Sweep) else plan_json)
        return
    if isinstance(asked, Sweep):
        show_sweep(asked, plans)
    show_plan(first)
    if cards is not None:
        _show("what fits", memory_text.cards(recipe_of_first, cards))
    show_future_server(served, alone)


@click.command(epilog=examples("luthier train mine.jsonl --follow", "luthier train mine.toml"))
@click.argument("recipe", type=Name("recipe file", "data file", as_path=True), required=False)
@model_option
@set_option
@click.option(
    "--again", metavar="ID", type=Name("run"), help="Repeat an earlier run from its frozen recipe."
)
@click.option(
    "--follow", is_flag=True, help="Stay and show the progress. Ctrl-C leaves; the run keeps going."
)
@click.option(
    "--server",
    type=click.Choice(list(CHOICES)),
    help="What to do about a server that holds the GPU. Default: ask once.",
)
@click.option(
    "--then",
    type=click.Choice(["chat"]),
    help="Start the base's server first, follow the run, then chat with the result.",
)
@json_option
def train(
    recipe: Path | None,
    model: str | None,
    changes: tuple[str, ...],
    again: str | None,
    follow: bool,
    server: Choice | None,
    then: str | None,
    as_json: bool,
) -> None:
    """Fine-tune a model in a job that outlives this terminal. RECIPE is a recipe file, or data (a
    file, a folder or hub:owner/name) to train on with the defaults. Prints the run's id; for a
    sweep (a recipe with lists of values), one id per line."""
    if (recipe is None) == (again is None):
        raise click.UsageError("Name a RECIPE, or use --again ID.")
    asked, is_of_data = asked_for(recipe, model, changes, again or "")
    recipes = recipes_of(asked)
    if then and len(recipes) > 1:
        raise click.UsageError("--then chat is for one run, not for a sweep.")
    for single_recipe in recipes:
        prepare_model(single_recipe)
    if then:
        warm_server(recipes[0])
    with offering_changes(recipe, model, changes):
        identifier, started = _start(asked, str(recipe) if is_of_data else None, changes)
    for warning in dict.fromkeys(warning for run in started for warning in Run(run).warnings):
        say_warning(warning)
    settle(started, server or ("sleep" if then else None))
    _tell_started(started, identifier, as_json)
    if follow or then:
        for job in started:
            _follow(job)
        if then:
            _talk_to(Run(started[0]))
        if identifier:
            talk.print(f"  compare them: luthier sweep {identifier}")
    elif identifier:
        say_aside(f"{len(started)} runs are queued. Compare them: luthier sweep {identifier}")
    else:
        say_aside(
            f"It runs in the background. Progress: luthier log -f {started[0].id}  ·  stop:"
            f" luthier stop {started[0].id}"
        )


def _start(
    asked: Recipe | Sweep, source: str | None, changes: Sequence[str]
) -> tuple[str | None, list[Job]]:
    """The sweep's id, if it is one, and the runs. `source` is data to train on with the defaults,
    but for `changes`, which are printed."""
    if isinstance(asked, Sweep):
        return start_sweep(asked)
    if source is None:
        return None, [launch.train(asked)]
    run_plan = make_plan(asked)
    tell_defaults(run_plan, source, changes)
    return None, [launch.train(asked, run_plan)]


def tell_defaults(run_plan: Plan, source: str, changes: Sequence[str]) -> None:
    """What the defaults make of a data source, and how to change it, on stderr."""
    reason = next((why.text for why in run_plan.reasons if why.key == "train.learning_rate"), "")
    rows = {
        "model": run_plan.model,
        "data": plan_text.data(run_plan),
        "format": "; ".join(_format(reading) for reading in run_plan.formats),
        "length": plan_text.length(run_plan),
        "rate": reason,
        "evaluation": plan_text.evaluation(run_plan),
        "time": plan_text.time_in_all(forecast(run_plan, earlier_speed(run_plan))),
    }
    settings = " and ".join(("the defaults", *([", ".join(changes)] if changes else [])))
    talk.print(styled("Training on $source with $settings:", source=source, settings=settings))
    for name, value in rows.items():
        if value:
            talk.print(styled("  [dim]$name[/]  $value", name=f"{name:10}", value=value))
    stem = name_of_data(Path(source))
    say_aside(
        "  Another model: --model NAME. One setting: --set train.epochs=1. A recipe to change:"
        f" luthier plan {source} --save {stem}.toml, then luthier train {stem}.toml"
    )


def warm_server(recipe: Recipe) -> None:
    """A server of the recipe's base model, running before the run begins: afterwards only the
    adapter is to be loaded. None where what is trained will be served as a model of its own."""
    base = registry.resolve(recipe.model).resolve()
    if server_of(base, LOCALHOST) is None and not consequences(recipe, base):
        options = ServeOptions(max_lora_rank=max(16, recipe.lora.r))
        once_started(serving.serve(recipe.model, [], options=options), follow_start)


def settle(runs: list[Job], choice: Choice | None) -> None:
    """Say what waiting runs do about a server that holds their GPU: `choice`, else what a person
    answers now, which is remembered."""
    for run in runs:
        if choice is not None:
            with contextlib.suppress(NotWaiting):
                gpu_conflict.answer(run, choice, remember=False)
        elif servers := _asks(run):
            talk.print(
                styled(
                    "[yellow]?[/] $question", question=gpu_conflict.question(run.spec.name, servers)
                )
            )
            if not sys.stdin.isatty():
                talk.print(
                    "  The run waits. luthier train --server sleep|share|wait decides what to"
                    f" do, and {SETTING} in config.toml decides it for every run."
                )
                return
            for name, meaning in CHOICES.items():
                talk.print(styled("  [bold]$name[/]  $what", name=name, what=meaning))
            gpu_conflict.answer(
                run,
                choose("  Luthier will do the same for later runs", list(CHOICES)),
                remember=True,
            )


def _asks(run: Job) -> list[str]:
    """The servers that a run which has just been started asks about."""
    deadline = time.monotonic() + _ASK_SECONDS
    while run.spec.gpu_bytes and time.monotonic() < deadline:
        state, events = run.look()
        if not isinstance(state, Queued) or newest(events, Waiting) is not None:
            return open_question(events) if isinstance(state, Queued) else []
        time.sleep(0.1)
    return []


def _talk_to(run: Run) -> None:
    """Have the run's model served, by the server of its base or merged by one of its own; on a
    terminal, open the chat."""
    own_model(run, merge_first)
    server = once_ready(server_job(run))
    name = have_it_serve(server, run)
    say_done(
        f"{run.name} answers at {server.base_url}/v1{'' if name == run.name else f' as {name}'}"
    )
    if sys.stdin.isatty() and sys.stdout.isatty():
        from tui.app import LuthierApp

        LuthierApp("chat", chat_with=run.job).run()
    else:
        say_aside(f"  luthier chat {' '.join(dict.fromkeys([BASE, name]))}")


def _tell_started(started: list[Job], sweep: str | None, as_json: bool) -> None:
    if not as_json:
        write("\n".join(job.id for job in started))
    elif sweep is None:
        print_json({"id": started[0].id, "directory": str(started[0].directory)})
    else:
        runs = [
            {
                "id": job.id,
                "name": job.spec.name,
                "directory": str(job.directory),
                "varies": membership.varies if (membership := Run(job).sweep) is not None else {},
            }
            for job in started
        ]
        print_json({"sweep": sweep, "runs": runs})


def _follow(job: Job) -> None:
    result = follow_to_end(job, f"Training {job.spec.name}")
    talk.print(f"  {outcome_text(result)}; serve it: luthier serve {job.short_id}")
    if any(order["kind"] == "certify" for order in job.spec.then):
        say_aside(
            "  Luthier now certifies it. In a few minutes, read the certificate: luthier certify"
            f" {job.short_id} --show"
        )


def prepare_model(recipe: Recipe) -> None:
    """Make the built-in model if the recipe wants it and it is not there yet."""
    job = registry.prepare_builtin() if recipe.model == BUILTIN else None
    if job is not None:
        follow_job(job, "Preparing the built-in model", lambda state: isinstance(state, Done))


def show_plan(run_plan: Plan) -> None:
    table = plain_table("", "")
    rows: dict[str, str | Text] = {
        "model": styled(
            "$model [dim]$directory[/]", model=run_plan.model, directory=run_plan.model_directory
        ),
        **({"objective": learned} if (learned := plan_text.objective(run_plan)) else {}),
        "data": plan_text.data(run_plan),
        **{
            f"format{'' if number == 0 else f' {number + 1}'}": _format(reading)
            for number, reading in enumerate(run_plan.formats)
        },
        "engine": plan_text.engine(run_plan),
        "settings": plan_text.settings(run_plan),
        "batch": plan_text.batch(run_plan),
        "length": plan_text.length(run_plan),
        "evaluation": plan_text.evaluation(run_plan),
        "time": plan_text.time_parts(forecast(run_plan, earlier_speed(run_plan))),
        "waits for": (
            ", ".join(run_plan.slots)
            + (f" with {size(run_plan.gpu_bytes)} free" if run_plan.gpu_bytes else "")
        ),
    }
    for name, value in rows.items():
        table.add_row(styled("[dim]$name[/]", name=name), value)
    out.print(table)
    _show("before you start", memory_text.warnings(run_plan))
    _show(memory_text.TITLE, memory_text.parts(run_plan, card()))
    _show("why", memory_text.reasons(run_plan))
    _show(memory_text.trials_title(run_plan), memory_text.trials(run_plan))
    _show("predicted", memory_text.choices(run_plan))
    policies = plain_table("policy", "choice", "met", "what it is about")
    for policy in run_plan.policies:
        choice = Text(policy["choice"], "bold" if policy["changed"] else "")
        about = (
            f"{policy['meets']}: {policy['repair']}"
            if policy["choice"] not in ("keep", "drop", "stop")
            else policy["meets"]
        )
        policies.add_row(
            policy["name"], choice, str(run_plan.met.get(policy["name"], "")), Text(about, "dim")
        )
    out.print(policies)


_STYLES = {
    "dim": "dim",
    "bold": "bold",
    "good": "green",
    "blue": "blue",
    "green": "green",
    "amber": "yellow",
    "red": "red",
    "yellow": "cyan",
}


def _show(title: str, lines: list[Line]) -> None:
    """Lines under a title of their own; nothing if there are none."""
    if not lines:
        return
    out.print(title, style="dim")
    for line in lines:
        out.print(
            "  ",
            *(Text(text, _STYLES.get(role, "")) for text, role in line),
            sep="",
            soft_wrap=True,
        )
    out.print()


def _format(reading: dict[str, Any]) -> str:
    files = [Path(file).name for file in reading["files"]]
    remainder = f" and {len(files) - 3} more" if len(files) > 3 else ""
    unused = f"; not used: {few(reading['unused'])}" if reading["unused"] else ""
    return f"{', '.join(files[:3])}{remainder}: {reading['reason']}{unused}"
