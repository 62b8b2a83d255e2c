"""`luthier resume`."""

from __future__ import annotations

import click

from jobs.job import find, start
from trainer import launch
from trainer.run.checkpoints import complete_checkpoints
from tui.commands.output import examples, json_option, print_json, say_aside, talk, write
from tui.commands.progress import follow_to_end
from tui.completion.name_parameter import Name

_TITLES: dict[str, str] = {"make": "Making conversations", "reproduce": "Reproducing"}
"""Of jobs that continue where they were by starting again."""


@click.command(epilog=examples("luthier resume captain --follow"))
@click.argument("job_id", metavar="ID", type=Name("run"))
@click.option(
    "--force", is_flag=True, help="Resume even if data, template, recipe or versions have changed."
)
@click.option(
    "--follow", is_flag=True, help="Stay and show the progress. Ctrl-C leaves; the run keeps going."
)
@json_option
def resume(job_id: str, force: bool, follow: bool, as_json: bool) -> None:
    """Resume a run that was stopped, failed or was lost, exactly from its newest checkpoint; the
    making of conversations, which asks nothing twice; or a reproduction, with its runs."""
    job = find(job_id, "run", "make", "reproduce")
    if job.spec.kind in _TITLES:
        start(job)
        step, note, title = 0, "", _TITLES[job.spec.kind]
    else:
        launch.resume(job, force)
        checkpoints = complete_checkpoints(job.directory)
        step = checkpoints[-1].step if checkpoints else 0
        note = (
            f"Resuming from step {step}."
            if step
            else "It has no checkpoint, so it starts from the beginning."
        )
        title = f"Training {job.spec.name}"
    if as_json:
        print_json({"id": job.id, "step": step, "directory": str(job.directory)})
    else:
        write(job.id)
    if note:
        talk.print(note)
    if not follow:
        say_aside(f"Progress: luthier log -f {job.id}  ·  stop: luthier stop {job.id}")
        return
    follow_to_end(job, title)
