"""`luthier move`, `edit` and `requeue`: what can be done with jobs that wait."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from jobs import job as jobs
from jobs import queue
from jobs.luthier_error import LuthierError
from jobs.state import Lost
from tui.commands.output import confirm, examples, say_failure, talk, write
from tui.completion.name_parameter import Name
from workshop.job_list import ordinal

_PLACES = ("first", "last", "up", "down", "before")


@click.command(
    epilog=examples(
        "luthier move captain first", "luthier move captain before parrot", "luthier runs --queue"
    )
)
@click.argument("job_id", metavar="ID", type=Name("living job"))
@click.argument("place", metavar="first|last|up|down|before", type=click.Choice(_PLACES))
@click.argument("other_id", metavar="[OTHER]", required=False, type=Name("living job"))
def move(job_id: str, place: str, other_id: str | None) -> None:
    """Move a waiting job in the queue."""
    if (place == "before") != (other_id is not None):
        raise click.UsageError("`before` needs a second job: luthier move ID before OTHER.")
    job = jobs.find(job_id)
    position = queue.move(job, place, jobs.find(other_id) if other_id else None)
    talk.print(f"{job.id} is {ordinal(position)} in the queue.")


@click.command(epilog=examples("luthier edit captain", "luthier edit captain --from mine.toml"))
@click.argument("job_id", metavar="ID", type=Name("run"))
@click.option(
    "--from",
    "source",
    type=click.Path(path_type=Path),
    help="Use this recipe instead of opening an editor.",
)
def edit(job_id: str, source: Path | None) -> None:
    """Edit the recipe of a waiting run in $EDITOR. Luthier checks and plans it before it replaces
    the old one; the run keeps its place in the queue.

    Not possible once the run has started.
    """
    job = jobs.find(job_id, "run")
    from trainer.edit import draft, replace_recipe

    queue.position(job)
    if source is not None:
        replace_recipe(job, source)
        talk.print(f"{job.id} follows {source} now.")
        return
    with draft(job) as path:
        before = path.read_text(encoding="utf-8")
        while True:
            click.edit(filename=str(path))
            if path.read_text(encoding="utf-8") == before:
                talk.print("Nothing was changed.")
                return
            try:
                replace_recipe(job, path)
                break
            except LuthierError as error:
                if not sys.stdin.isatty() or isinstance(error, queue.NotWaiting):
                    raise
                say_failure(error.title, error.message, error.hint)
                confirm("Edit again? Otherwise the recipe stays as it was.", default=True)
    talk.print(f"{job.id} will use the new recipe. `luthier runs --queue` shows the queue.")


@click.command(epilog=examples("luthier requeue", "luthier requeue captain"))
@click.argument("job_ids", metavar="[ID...]", nargs=-1, type=Name("job"))
def requeue(job_ids: tuple[str, ...]) -> None:
    """Queue the jobs again that were waiting when the machine went down, in their old order.
    Nothing starts by itself after a reboot."""
    left = queue.left_waiting()
    if job_ids:
        requeued = [jobs.find(job_id) for job_id in job_ids]
        for job in requeued:
            if job.id not in {job_left.id for job_left in left}:
                hint = "`luthier resume ID` resumes an interrupted run."
                why = (
                    "had already started when it was lost"
                    if isinstance(job.state(), Lost)
                    else "was not waiting"
                )
                raise LuthierError("Was not waiting", f"{job.id} {why}.", hint)
        left = [job for job in left if job.id in {requeued_job.id for requeued_job in requeued}]
    if not left:
        talk.print("No job was waiting when the machine went down.")
        return
    queue.queue_again(left)
    for job in left:
        write(job.id)
