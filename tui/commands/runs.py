"""`luthier runs`, `log`, `stop` and `remove`."""

from __future__ import annotations

import sys
import time
from dataclasses import asdict
from typing import Any

import click

from jobs import job as jobs
from jobs.events import Event, Follower
from jobs.job import Job
from jobs.spec import Kind
from jobs.state import Failed, Queued, Running, Starting, State, word
from tui.commands.output import json_option, out, plain_table, print_json, print_json_line, talk
from tui.figures import age
from tui.glyphs import glyphs


@click.command()
@click.option("--all", "every", is_flag=True, help="Also servers and other jobs.")
@json_option
def runs(every: bool, as_json: bool) -> None:
    """The runs and their states, newest first."""
    kinds: tuple[Kind, ...] = () if every else ("run",)
    found = [(job, job.state()) for job in jobs.all_jobs(*kinds)]
    if as_json:
        print_json([_as_json(job, state) for job, state in found])
        return
    if not found:
        talk.print("No runs yet. `luthier demo` makes one, `luthier train RECIPE` yours.")
        return
    table = plain_table("id", "kind", "state", "", "age") if every else plain_table("id", "state", "", "age")
    for job, state in found:
        shown = f"{getattr(glyphs(), word(state))} {word(state)}"
        table.add_row(job.id, *([job.spec.kind] if every else []), shown, _detail(state), age(job.created))
    out.print(table)


@click.command()
@click.argument("job_id", metavar="ID")
@click.option("-f", "--follow", is_flag=True, help="Wait for more until the job ends. Ctrl-C leaves; the job goes on.")
@click.option("--output", is_flag=True, help="What the worker printed, rather than its events.")
@json_option
def log(job_id: str, follow: bool, output: bool, as_json: bool) -> None:
    """The events of a job (with --json: as they are, one object a line)."""
    job = jobs.find(job_id)
    if output:
        _print_output(job, follow)
        return
    follower = Follower(job.events_path)
    while True:
        ended = not follow or not job.alive()
        while events := follower.read():
            for event in events:
                if as_json:
                    print_json_line(event)
                else:
                    click.echo(event_line(event))
        if ended:
            return
        time.sleep(0.3)


@click.command()
@click.argument("job_id", metavar="ID")
@click.option("--now", is_flag=True, help="Do not wait for it to end with care.")
def stop(job_id: str, now: bool) -> None:
    """Stop a job, and wait until it has ended."""
    stop_and_wait(jobs.find(job_id), now)


@click.command()
@click.argument("job_id", metavar="ID")
@click.option("--yes", is_flag=True, help="Do not ask.")
def remove(job_id: str, yes: bool) -> None:
    """Delete a job's folder with everything in it."""
    job = jobs.find(job_id)
    size = sum(path.stat().st_size for path in job.directory.rglob("*") if path.is_file())
    if not yes:
        click.confirm(f"Delete {job.directory} ({size / 1e6:.1f} MB)?", abort=True, err=True)
    jobs.remove(job)


def stop_and_wait(job: Job, now: bool = False) -> None:
    if not jobs.stop(job):
        talk.print(f"{job.id} does not run: {word(job.state())}.")
        return
    if now:
        time.sleep(0.1)
        jobs.stop(job)
    with talk.status(f"Stopping {job.id}; it has {job.spec.grace_seconds:.0f} s to end with care"):
        jobs.wait(job)
    talk.print(f"{job.id}: {word(job.state())}.")


def event_line(event: Event) -> str:
    """One event as a person reads it: time, kind, fields."""
    clock = time.strftime("%H:%M:%S", time.localtime(event["t"]))
    fields = " ".join(f"{key}={_short(value)}" for key, value in event.items() if key not in ("t", "kind"))
    return f"{clock}  {event['kind']:<15} {fields}"


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _print_output(job: Job, follow: bool) -> None:
    position = 0
    while True:
        ended = not follow or not job.alive()
        if job.log_path.is_file():
            with job.log_path.open("rb") as file:
                file.seek(position)
                while block := file.read(65_536):
                    sys.stdout.buffer.write(block)
                position = file.tell()
            sys.stdout.flush()
        if ended:
            return
        time.sleep(0.3)


def _detail(state: State) -> str:
    match state:
        case Running(total=total) if total:
            return f"step {state.step} of {total}"
        case Starting():
            return state.phase
        case Queued() if state.waits_for:
            return f"waits for {state.waits_for}"
        case Failed():
            return f"{state.title}: {state.message.splitlines()[0][:60] if state.message else ''}"
        case _:
            return ""


def _as_json(job: Job, state: State) -> dict[str, Any]:
    return {
        "id": job.id,
        "kind": job.spec.kind,
        "name": job.spec.name,
        "state": word(state),
        **{key: value for key, value in asdict(state).items() if value not in ("", None)},
        "created": job.created,
        "directory": str(job.directory),
    }
