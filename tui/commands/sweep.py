"""`luthier sweep`, and what `luthier plan` and `train` say of one."""

from __future__ import annotations

import math
from collections import Counter
from typing import Any

import click

from jobs.job import Job
from jobs.state import Running, word
from models.runs import Run, SweepPlace
from trainer.comparison import Row, compare, not_comparable, winner
from trainer.plan.plan import Plan
from trainer.recipe import short_value
from trainer.sweep import Sweep, find_sweep, sweeps
from tui.commands.output import examples, json_option, out, plain_table, print_json, styled, talk
from tui.completion.name_parameter import Name
from tui.shared.glyphs import glyphs
from workshop.number_format import age, duration
from workshop.number_format import loss as loss_text

_WIDE = 100  # columns of a terminal that has room for the runs' names


@click.command(epilog=examples("luthier sweep", "luthier sweep captain"))
@click.argument("sweep_id", metavar="[SWEEP]", required=False, type=Name("sweep"))
@json_option
def sweep(sweep_id: str | None, as_json: bool) -> None:
    """Compare the runs of a sweep: what varies, losses, metrics and time. Without SWEEP, list the
    sweeps."""
    if sweep_id is None:
        _list(as_json)
        return
    identifier, jobs = find_sweep(sweep_id)
    rows = compare(jobs)
    if as_json:
        print_json({"id": identifier, "name": _name(jobs), "runs": [_as_json(row) for row in rows]})
        return
    _show(rows)


def show_sweep(sweep: Sweep, plans: list[Plan]) -> None:
    """How many runs there are, and what they differ in: the values that vary, and what the plans
    make of them."""
    axes = " × ".join(
        f"{key} {', '.join(map(short_value, values))}" for key, values in sweep.axes.items()
    )
    out.print(styled("[bold]A sweep of $count runs[/]: $axes", count=len(sweep.members), axes=axes))
    steps, batches = {plan.steps for plan in plans}, {plan.compute.micro_batch for plan in plans}
    if len(steps) > 1 or len(batches) > 1:
        table = plain_table("run", ">steps", ">at a time")
        for member, plan in zip(sweep.members, plans, strict=True):
            table.add_row(member.recipe.name, f"{plan.steps:,}", str(plan.compute.micro_batch))
        out.print(table)
    else:
        out.print(
            ", ".join(member.recipe.name for member in sweep.members), style="dim", soft_wrap=False
        )
    out.print()


def sweep_json(sweep: Sweep, plans: list[Plan]) -> dict[str, Any]:
    runs = [
        {"name": member.recipe.name, "varies": member.varies, "plan": plan.to_json()}
        for member, plan in zip(sweep.members, plans, strict=True)
    ]
    return {"name": sweep.name, "axes": sweep.axes, "runs": runs}


def _list(as_json: bool) -> None:
    by_id = sweeps()
    states = {name: [word(job.state()) for job in jobs] for name, jobs in by_id.items()}
    if as_json:
        items = by_id.items()
        print_json(
            [
                {
                    "id": name,
                    "name": _name(jobs),
                    "runs": [job.id for job in jobs],
                    "states": states[name],
                }
                for name, jobs in items
            ]
        )
        return
    if not by_id:
        talk.print(
            "No sweeps yet. `luthier train RECIPE` starts one if the recipe contains lists of"
            " values."
        )
        return
    table = plain_table("id", ">runs", "states", "varies", "age")
    for name, jobs in by_id.items():
        counted = ", ".join(
            f"{count} {state}" for state, count in Counter(states[name]).most_common()
        )
        table.add_row(
            name,
            str(len(jobs)),
            counted,
            ", ".join(_place(jobs).varies),
            age(jobs[0].created),
        )
    out.print(table)


def _name(jobs: list[Job]) -> str:
    return _place(jobs).name


def _place(jobs: list[Job]) -> SweepPlace:
    """Of the first run of a sweep."""
    membership = Run(jobs[0]).sweep
    assert membership is not None  # trainer.sweep gives only such
    return membership


def _show(rows: list[Row]) -> None:
    keys = list(rows[0].varies)
    metrics = list(
        dict.fromkeys(
            name
            for row in rows
            for evaluation in (row.best, row.last)
            if evaluation
            for name in evaluation.metrics
        )
    )
    best = winner(rows)
    wide = not out.is_terminal or out.width >= _WIDE
    names = ["run"] if wide else []  # what varies says it too
    headings = [
        *names,
        *(f">{key.rpartition('.')[2]}" for key in keys),
        "state",
        ">loss",
        ">eval",
        ">at step",
    ]
    table = plain_table("", *headings, *(f">{name}" for name in metrics), ">time")
    for row in rows:
        evaluation = row.best
        cells = [
            glyphs().best if row is best else " ",
            *([row.job.spec.name] if wide else []),
            *(short_value(row.varies.get(key, "")) for key in keys),
            _state(row),
            loss_text(row.loss),
            loss_text(evaluation.loss) if evaluation else "",
            str(evaluation.step) if evaluation else "",
            *(
                f"{evaluation.metrics[name]:.3g}"
                if evaluation and name in evaluation.metrics
                else ""
                for name in metrics
            ),
            duration(row.seconds) if row.seconds is not None else "",
        ]
        table.add_row(*cells, style="bold" if row is best else "")
    out.print(table)
    why = not_comparable(rows)
    if why:
        out.print(f"No run is marked as best: {why}.", style="dim")
    elif best is not None:
        out.print(f"{glyphs().best} best by {best.metric}: {best.job.id}", style="dim")


def _state(row: Row) -> str:
    state = f"{getattr(glyphs(), word(row.state))} {word(row.state)}"
    if isinstance(row.state, Running):
        return f"{state} {row.state.step}/{row.state.total}"
    return f"{state}, early" if row.early_stop else state


def _as_json(row: Row) -> dict[str, Any]:
    def plain(evaluation: Any) -> dict[str, Any] | None:
        return (
            None
            if evaluation is None
            else {
                "step": evaluation.step,
                "epoch": evaluation.epoch,
                "loss": _finite(evaluation.loss),
                "metrics": evaluation.metrics,
            }
        )

    return {
        "id": row.job.id,
        "name": row.job.spec.name,
        "varies": row.varies,
        "state": word(row.state),
        "loss": _finite(row.loss),
        "metric": row.metric,
        "best": plain(row.best),
        "last": plain(row.last),
        "seconds": row.seconds,
        "early_stop": row.early_stop,
    }


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None
