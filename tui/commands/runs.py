"""`luthier runs`, `log`, `stop` and `remove`."""

from __future__ import annotations

import time
from dataclasses import asdict
from typing import Any

import click

from jobs import job as jobs
from jobs.events import Event, Follower
from jobs.files import folder_bytes
from jobs.job import DamagedJob, Job
from jobs.state import Asleep, Failed, Lost, Queued, Running, Starting, Stopping, word
from jobs.uses import check_unused
from tui.commands.events import event_line
from tui.commands.output import (
    confirm,
    examples,
    json_option,
    print_json,
    print_json_line,
    print_lines,
    talk,
    write,
    write_log,
)
from tui.completion.name_parameter import Name
from tui.shared.glyphs import glyphs
from workshop import number_format
from workshop.job_list import JobRow, read_rows, waiting_text

_POLL_SECONDS = 0.3


@click.command(
    epilog=examples(
        "luthier runs",
        "luthier runs --queue",
        "luthier runs --json | jq '.[] | select(.state == \"running\") | .id'",
    )
)
@click.option("--all", "every", is_flag=True, help="Include servers and other jobs.")
@click.option(
    "--queue",
    "only_queue",
    is_flag=True,
    help="Only waiting jobs of every kind, the next one first.",
)
@json_option
def runs(every: bool, only_queue: bool, as_json: bool) -> None:
    """List the runs: what each one does, its progress, what it waits for. Running ones first, then
    the queue, then ended ones."""
    rows = read_rows({})
    damaged = [] if only_queue else jobs.damaged_jobs({row.id for row in rows})
    listed = (
        [row for row in rows if row.position]
        if only_queue
        else [row for row in rows if every or row.kind == "run"]
    )
    if as_json:
        print_json([*map(row_json, listed), *map(damaged_json, damaged)])
        return
    if listed or damaged:
        _show(listed, damaged, kinds=every or only_queue)
    elif only_queue:
        talk.print(
            "No job is waiting."
            + (" `luthier runs` lists the runs." if any(row.alive for row in rows) else "")
        )
    else:
        talk.print("No runs yet. `luthier demo` makes one; `luthier train RECIPE` makes your own.")
    left = [row for row in rows if row.left_waiting]
    if left:
        subject = "1 job was" if len(left) == 1 else f"{len(left)} jobs were"
        talk.print(
            f"{subject} waiting when the machine went down: `luthier requeue` queues"
            f" {'it' if len(left) == 1 else 'them'} again."
        )


@click.command(
    epilog=examples(
        "luthier log captain",
        "luthier log -f -n 20 captain",
        "luthier log --events captain | jq .kind",
    )
)
@click.argument("job_id", metavar="ID", type=Name("job"))
@click.option(
    "-f",
    "--follow",
    is_flag=True,
    help="Follow the job until it ends. Ctrl-C leaves; the job keeps going.",
)
@click.option(
    "-n", "--lines", "count", type=click.IntRange(min=0), help="Start with the last N lines."
)
@click.option(
    "--events",
    "as_events",
    is_flag=True,
    help="Show the raw events, one JSON object per line; the same as --json.",
)
@click.option("--output", is_flag=True, help="Show what the worker printed instead of its events.")
@json_option
def log(
    job_id: str, follow: bool, count: int | None, as_events: bool, output: bool, as_json: bool
) -> None:
    """Show what happened to a job, one line per event. ID is an id, a part of an id, or a name
    (meaning the newest job with that name)."""
    job = jobs.find(job_id)
    if output:
        _print_output(job, follow, count)
        return
    follower = Follower(job.events_path)
    while True:
        ended = not follow or not job.alive()
        history: list[Event] = []
        while events := follower.read():
            history += events
        for event in history if count is None else history[max(0, len(history) - count) :]:
            if as_json or as_events:
                print_json_line(event)
            else:
                write(event_line(event))
        count = None
        if ended:
            return
        time.sleep(_POLL_SECONDS)


@click.command(epilog=examples("luthier stop captain", "luthier stop --now captain parrot"))
@click.argument("job_ids", metavar="ID...", nargs=-1, required=True, type=Name("living job"))
@click.option("--now", is_flag=True, help="Stop at once: anything not saved is lost.")
def stop(job_ids: tuple[str, ...], now: bool) -> None:
    """Stop jobs and wait until they have ended. A run saves a checkpoint first; a second stop ends
    it at once."""
    for job in [jobs.find(job_id) for job_id in job_ids]:
        stop_and_wait(job, now)


@click.command(
    epilog=examples("luthier remove captain", "luthier remove --yes captain-7f3a parrot-11aa")
)
@click.argument("job_ids", metavar="ID...", nargs=-1, required=True, type=Name("job"))
@click.option("--yes", is_flag=True, help="Do not ask for confirmation.")
def remove(job_ids: tuple[str, ...], yes: bool) -> None:
    """Delete jobs' folders with everything in them. Waiting jobs leave the queue; a job that is
    running, or that a running job needs, cannot be removed."""
    folders = [jobs.find_folder(job_id) for job_id in job_ids]
    for job in folders:
        check_unused(job.directory, jobs.all_jobs())
    if not yes:
        for job in folders:
            talk.print(f"{job.directory}  {number_format.size(folder_bytes(job.directory))}")
        confirm(
            f"Delete {'it' if len(folders) == 1 else f'these {len(folders)}'} with everything in"
            f" {'it' if len(folders) == 1 else 'them'}?"
        )
    for job in folders:
        jobs.remove(job)


def stop_and_wait(job: Job, now: bool = False) -> None:
    state = job.state()
    if not jobs.stop(job, now):
        talk.print(f"{job.id} is not running: it is {word(state)}.")
        return
    if isinstance(state, Lost):
        talk.print(f"{job.id} had left processes behind; Luthier told them to end.")
        return
    at_once = now or isinstance(state, Stopping | Queued)
    status = f"Stopping {job.id}"
    if not at_once:
        careful = "it saves a checkpoint first" if job.spec.kind == "run" else "it ends cleanly"
        status += (
            f": {careful}, for which it has {job.spec.grace_seconds:.0f} s. `luthier stop --now"
            f" {job.short_id}` does not wait"
        )
    with talk.status(status):
        jobs.wait(job)
    talk.print(
        f"{job.id} has left the queue."
        if isinstance(state, Queued)
        else f"{job.id}: {word(job.state())}."
    )


def _show(rows: list[JobRow], damaged: list[DamagedJob], kinds: bool) -> None:
    none = [""] * len(damaged)
    states = [f"{getattr(glyphs(), word(row.state))} {word(row.state)}" for row in rows]
    columns = [
        ("id", [*(row.id for row in rows), *(job.id for job in damaged)]),
        ("kind", [*(row.kind if kinds else "" for row in rows), *none]),
        ("state", [*states, *[f"{glyphs().failed} damaged"] * len(damaged)]),
        ("", [*map(_detail, rows), *(job.why for job in damaged)]),
        (">loss", [*(number_format.loss(row.loss) for row in rows), *none]),
        (
            ">left",
            [
                *(
                    number_format.short_duration(row.seconds_left)
                    if row.seconds_left is not None
                    else ""
                    for row in rows
                ),
                *none,
            ],
        ),
        (
            ">age",
            [
                *(number_format.short_duration(number_format.now() - row.created) for row in rows),
                *none,
            ],
        ),
    ]
    print_lines(columns, shrinks="")


def _detail(row: JobRow) -> str:
    match row.state:
        case Running() | Stopping() if row.total:
            return f"{row.step} of {row.total} steps"
        case Starting(phase=phase):
            return phase
        case Queued(waits_for=waits_for):
            return waiting_text(row.position, waits_for)
        case Asleep(why=why, waking=waking):
            return "waking" if waking else why
        case Failed(title=title, message=message):
            return f"{title}: {message.splitlines()[0][:60] if message else ''}"
        case Lost(waited=True):
            return "was waiting when the machine went down"
        case Lost() if row.total:
            return f"its supervisor has gone, at step {row.step} of {row.total}"
        case _ if row.total and not row.alive:
            return f"{row.step} of {row.total} steps"
        case _:
            return ""


def row_json(row: JobRow) -> dict[str, Any]:
    """What `luthier runs --json` says of a job; what does not apply is left out."""
    about = {
        "position": row.position or None,
        "step": row.step if row.total else None,
        "total": row.total or None,
        "loss": row.loss,
        "seconds_left": row.seconds_left,
    }
    return {
        "id": row.id,
        "kind": row.kind,
        "name": row.name,
        "model": row.model,
        "state": word(row.state),
        **{
            key: value
            for key, value in {**asdict(row.state), **about}.items()
            if value not in ("", None)
        },
        "created": row.created,
        "directory": str(row.job.directory),
    }


def damaged_json(damaged: DamagedJob) -> dict[str, Any]:
    return {
        "id": damaged.id,
        "kind": None,
        "state": "damaged",
        "why": damaged.why,
        "directory": str(damaged.job.directory),
    }


def _print_output(job: Job, follow: bool, count: int | None) -> None:
    position = 0
    if count is not None and job.log_path.is_file():
        output = job.log_path.read_bytes()
        lines = output.splitlines(keepends=True)
        position = len(output) - sum(map(len, lines[max(0, len(lines) - count) :]))
    while True:
        ended = not follow or not job.alive()
        if job.log_path.is_file():
            with job.log_path.open("rb") as file:
                file.seek(position)
                while lines := file.readlines(65_536):
                    write_log(lines)
                position = file.tell()
        if ended:
            return
        time.sleep(_POLL_SECONDS)
