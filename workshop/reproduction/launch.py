"""Starting a reproduction as a job. Light."""

from __future__ import annotations

from pathlib import Path

import msgspec

from jobs.files import expanded
from jobs.job import Job, find, submit
from jobs.luthier_error import LuthierError
from jobs.near import did_you_mean_file
from jobs.spec import Spec
from models import foreign
from models.certificate import Check
from models.export.model_record import RECORD_FILE
from models.hub_names import HUB
from models.registry import described_directory
from models.runs import Run
from workshop.comparison.noise import check_noise
from workshop.reproduction.checks import ingredients
from workshop.reproduction.original import Original, of_folder, of_run

_MODULE = "workshop.reproduction.worker"
_LONGEST = 30  # characters of a name


class Order(msgspec.Struct, frozen=True):
    """What is reproduced, and beside what."""

    source: str
    """A run, "hub:owner/name", or an export's folder."""
    data: list[str] = []
    """The data files, which an export only names."""
    model: str = ""
    """The base model, if it has another name here."""
    seed_run: str = ""
    """A run of another seed, as the unit."""
    another_seed: bool = False
    """Whether to train one."""
    anyway: bool = False
    """Whether to train even if an ingredient is not as it was."""


def _check_names(order: Order) -> None:
    """What the order names beside its source is there."""
    for path in order.data:
        if not expanded(path).exists():
            hint = f"{did_you_mean_file(expanded(path))}Check the path."
            raise LuthierError("No such file", f"{path} does not exist.", hint)
    if order.model:
        described_directory(order.model)
    if order.seed_run:
        find(order.seed_run, "run")


def start_reproduction(order: Order) -> Job:
    """LuthierError for the first thing that is wrong with it; nothing has started then."""
    if order.seed_run and order.another_seed:
        raise LuthierError(
            "Two units", "--seed-run and --another-seed exclude each other.", "Choose one of them."
        )
    _check_names(order)
    if not order.source.startswith(HUB):
        original = read_original(order)
        refuse_others(ingredients(original), order)
        if order.seed_run and original.samples is not None:
            check_noise(original.run, order.seed_run)
    name = order.source.rstrip("/").rpartition("/")[2].partition("@")[0]
    return submit(
        Spec(
            kind="reproduce",
            name=f"{_plain(name)}-reproduction",
            module=_MODULE,
            settings=msgspec.to_builtins(order),
            starts_jobs=True,
            grace_seconds=150.0,
        )
    )


def order_of(job: Job) -> Order:
    """LuthierError if the settings of the job are damaged."""
    return foreign.settings_of(job, Order)


def read_original(order: Order, fetched: Path | None = None) -> Original:
    """`fetched` is the folder with the papers of a hub's model."""
    data = [expanded(name) for name in order.data]
    if fetched is not None:
        return of_folder(fetched, data, order.model)
    folder = expanded(order.source)
    if (folder / RECORD_FILE).is_file():
        return of_folder(folder, data, order.model)
    if folder.is_dir() and "/" in order.source:
        raise LuthierError(
            "Not an export of Luthier",
            f"{folder} has no {RECORD_FILE}, so it does not say how it was made.",
            "Name a run, or the folder of an export.",
        )
    if order.data or order.model:
        raise LuthierError(
            "A run knows its data and its model",
            f"{order.source} is a run of this machine; --data and --model are for an export.",
            "Leave them out.",
        )
    return of_run(Run.named(order.source))


def refuse_others(checks: list[Check], order: Order) -> None:
    """LuthierError if an ingredient is not as it was, unless that is wanted."""
    faults = [f"{check.name}: {check.sentence}" for check in checks if check.verdict == "red"]
    if faults and not order.anyway:
        raise LuthierError(
            "It would not be the same run",
            " ".join(faults),
            "Restore them, or train all the same with --anyway.",
        )


def _plain(name: str) -> str:
    letters = "".join(c if c.isalnum() or c in "-_" else "-" for c in name)[:_LONGEST]
    return letters.strip("-") or "model"
