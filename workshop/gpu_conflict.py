"""What a run does about a server that holds its GPU: the question, and how it is answered."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

from jobs import giving_way, queue
from jobs.event_kinds import Waiting, newest
from jobs.events import Event
from jobs.gpus import gpus
from jobs.home import jobs_directory
from jobs.job import Job
from jobs.luthier_error import LuthierError
from jobs.spec import Spec
from workshop import config
from workshop.number_format import size

Choice = Literal["sleep", "share", "wait"]

CHOICES: dict[Choice, str] = {
    "sleep": "the server sleeps while the run trains, and wakes by itself",
    "share": "both use the GPU at once, if both fit",
    "wait": "the run waits until the server stops or goes to sleep",
}


def open_question(events: list[Event]) -> list[str]:
    """The ids of the servers that a waiting job asks about, by its events; empty if it asks
    nothing."""
    waiting = newest(events, Waiting)
    return (waiting.servers or []) if waiting is not None else []


def question(run: str, servers: list[str]) -> str:
    names = " and ".join(Job(jobs_directory() / server).short_id for server in servers)
    return f"{names} {'holds' if len(servers) == 1 else 'hold'} the GPU that {run} waits for."


def answer(run: Job, choice: Choice, remember: bool) -> None:
    """Have a waiting run do this, and with `remember` all later ones that meet a server.
    LuthierError if sharing does not fit, or if the run does not wait any more."""
    if choice == "share":
        _share(run)
    with queue.kept_waiting(run):
        replace(Spec.read(run.directory), beside_server=choice).replace(run.directory)
    if remember:
        config.save(giving_way.SETTING, choice)


def remembered() -> str:
    return str(config.read().get(giving_way.SETTING, ""))


def _share(run: Job) -> None:
    """Have the run's recipe say so, with the memory that it is then planned to take."""
    import msgspec

    from trainer.edit import draft, replace_recipe
    from trainer.launch import frozen_recipe, run_spec
    from trainer.recipe import to_toml

    recipe = msgspec.structs.replace(frozen_recipe(run), share_gpu=True)
    needed, free = run_spec(recipe).gpu_bytes, max((gpu.free for gpu in gpus()), default=0)
    if needed > free:
        message = (
            f"{run.spec.name} is planned to use {size(needed)} of GPU memory, but only"
            f" {size(free)} are free beside the server."
        )
        hint = (
            "Let the server sleep, or start it with less memory: luthier serve ... --gpu-memory 0.3"
        )
        raise LuthierError("Not enough GPU memory for both", message, hint)
    with draft(run) as path:
        path.write_text(to_toml(recipe), encoding="utf-8")
        replace_recipe(run, path)
