"""`luthier resume`."""

from __future__ import annotations

import click

from jobs.job import find
from jobs.state import Done
from trainer import launch
from trainer.run.checkpoints import complete_checkpoints
from tui.commands.output import examples, json_option, print_json, say_aside, talk, write
from tui.commands.progress import follow_job


@click.command(epilog=examples("luthier resume captain --follow"))
@click.argument("job_id", metavar="ID")
@click.option(
    "--force", is_flag=True, help="Resume even if data, template, recipe or versions have changed."
)
@click.option(
    "--follow", is_flag=True, help="Stay and show the progress. Ctrl-C leaves; the run keeps going."
)
@json_option
def resume(job_id: str, force: bool, follow: bool, as_json: bool) -> None:
    """Resume a run that was stopped, failed or was lost, exactly from its newest checkpoint."""
    job = find(job_id, "run")
    launch.resume(job, force)
    checkpoints = complete_checkpoints(job.directory)
    step = checkpoints[-1].step if checkpoints else 0
    if as_json:
        print_json({"id": job.id, "step": step, "directory": str(job.directory)})
    else:
        write(job.id)
    talk.print(
        f"Resuming from step {step}."
        if step
        else "It has no checkpoint, so it starts from the beginning."
    )
    if not follow:
        say_aside(f"Progress: luthier log -f {job.id}  ·  stop: luthier stop {job.id}")
        return
    try:
        follow_job(job, f"Training {job.spec.name}", lambda state: isinstance(state, Done))
    except KeyboardInterrupt:
        talk.print(
            f"{job.id} keeps running. `luthier log -f {job.id}` follows it, `luthier stop"
            f" {job.id}` stops it."
        )
        raise
