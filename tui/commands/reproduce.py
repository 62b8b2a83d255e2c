"""`luthier reproduce`."""

from __future__ import annotations

import sys

import click

from jobs.job import Job
from jobs.luthier_error import LuthierError
from tui.commands.output import (
    examples,
    json_option,
    out,
    print_json,
    say_aside,
    write,
)
from tui.commands.progress import follow_to_end
from tui.commands.verdicts import headline, sentence_table
from tui.completion.name_parameter import Name
from workshop.reproduction import result as results
from workshop.reproduction.launch import Order, start_reproduction
from workshop.reproduction.result import Reproduction


@click.command(
    epilog=examples(
        "luthier reproduce captain --another-seed",
        "luthier reproduce captain-export --data train.jsonl",
        "luthier reproduce hub:me/captain --data train.jsonl",
    )
)
@click.argument("source", metavar="RUN|DIR|hub:OWNER/NAME", type=Name("run"))
@click.option(
    "--data",
    multiple=True,
    type=Name("data file"),
    metavar="FILE",
    help="The training data, which an export only names by its hash. Repeat it for several.",
)
@click.option(
    "--model",
    type=Name("model"),
    metavar="NAME",
    help="The base model, if it has another name on this machine.",
)
@click.option(
    "--seed-run",
    type=Name("run"),
    metavar="RUN",
    help="A run of the same recipe with another seed, as the unit for the distance.",
)
@click.option("--another-seed", is_flag=True, help="Train such a run too.")
@click.option(
    "--anyway", is_flag=True, help="Train even if base, data or template are not as they were."
)
@click.option("--detach", is_flag=True, help="Start it and return; prints its id.")
@json_option
def reproduce(
    source: str,
    data: tuple[str, ...],
    model: str | None,
    seed_run: str | None,
    another_seed: bool,
    anyway: bool,
    detach: bool,
    as_json: bool,
) -> None:
    """Train a run again and say how near the result comes: the same bits, or the distance in nats
    a token beside that of another seed. Checks base, data, chat template and versions by hash
    first, and names each that differs.

    It is a job: Ctrl-C leaves it running, and luthier resume continues one that was stopped. Exit
    status: 1 if a check is red.
    """
    order = Order(source, list(data), model or "", seed_run or "", another_seed, anyway)
    job = start_reproduction(order)
    if detach:
        if as_json:
            print_json({"id": job.id, "directory": str(job.directory)})
        else:
            write(job.id)
        return
    _follow(job, source)
    reproduction = results.read(job.directory)
    if reproduction is None:
        raise LuthierError(
            "No result", f"{job.id} has left no result.", f"`luthier log {job.id}` says why."
        )
    if as_json:
        print_json({"id": job.id, **reproduction.to_json()})
    else:
        _print(reproduction)
    if reproduction.verdict == "red":
        sys.exit(1)


def _follow(job: Job, source: str) -> None:
    again = f"`luthier resume {job.id}` continues it."
    follow_to_end(job, f"Reproducing {source}", again)


def _print(reproduction: Reproduction) -> None:
    out.print(headline(reproduction.verdict, reproduction.headline))
    runs = [f"{reproduction.run} again as {reproduction.again}"]
    runs += [f"another seed: {reproduction.seed_run}"] if reproduction.seed_run else []
    out.print(f"{', '.join(runs)}\n", style="dim")
    out.print(sentence_table(reproduction.checks, "check"))
    if reproduction.seed_run:
        say_aside(
            f"  luthier compare {reproduction.again} --noise {reproduction.seed_run} --prompts FILE"
            " compares answers in units of two seeds."
        )
