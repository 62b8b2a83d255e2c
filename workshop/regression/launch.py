"""Ordering a guard of a run, and going on with one. Light: the app and the command line import
it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import msgspec

from jobs.job import Job, all_jobs, start, submit
from jobs.luthier_error import LuthierError
from jobs.spec import Spec
from jobs.state import Done
from models import foreign, regression_guard
from models.chapters import Chapter
from models.folder import ModelFolder, templates_differ
from models.regression_guard import BASE, DEFAULT_TEXT_LOSS, FAMILIES
from models.runs import Run
from trainer.guard_settings import check_families, check_reference
from trainer.launch import frozen_recipe
from workshop.chapter_job import job_behind
from workshop.regression import result as results
from workshop.regression.probes import Probe, luthiers_probes, read_probes
from workshop.regression.result import Result, check_bounds
from workshop.served_runs import own_model

_AGAINST = "against "


class Order(msgspec.Struct, frozen=True):
    """What is asked, and what is allowed."""

    run: str
    """The run's folder."""
    model: str
    """The base model, by the name its run has for it."""
    points: dict[str, float] = {}
    text_loss: float = DEFAULT_TEXT_LOSS
    probes: list[str] = []
    """Files of further probes."""
    limit: int | None = None
    """Only this many probes of each of these files, from the first one."""
    against: str = ""
    """The folder of a run that takes the base's place; "" for the base."""
    only: list[str] = []
    """The probe families that are asked; all if it is empty."""

    @property
    def earlier(self) -> Run | None:
        """The run that takes the base's place."""
        return Run(Job(Path(self.against))) if self.against else None

    @property
    def subject(self) -> str:
        """The subject of its chapter: against the base is what a guard is about."""
        return f"{_AGAINST}{self.earlier.job.short_id}" if self.earlier else ""


def order_for(
    run: Run,
    probes: Sequence[str] = (),
    points: Mapping[str, float] | None = None,
    limit: int | None = None,
    against: str = "",
    only: Sequence[str] = (),
) -> Order:
    """As the run's recipe says; `points` come before the recipe's own, `probes` are added to its,
    `against` (a run, or "base") and `only` take the place of its. LuthierError if there is no such
    run."""
    reference = _run_named(against)  # a misspelt name before what the recipe may lack
    guard = frozen_recipe(run.job).guard
    earlier = reference if against else _run_named(guard.against)
    return Order(
        run=str(run.folder.path),
        model=run.base_name,
        points={**guard.at_most_lower, **(points or {})},
        text_loss=guard.text_loss,
        probes=list(dict.fromkeys([*guard.probes, *probes])),
        limit=limit,
        against="" if earlier is None else str(earlier.folder.path),
        only=[*(only or guard.only)],
    )


def order_behind(run: Run, chapter: Chapter) -> Order:
    """The order that a chapter was made from. If its job was removed: the same two models, the rest
    as the run's recipe says."""
    job = job_behind(chapter)
    if job is not None:
        return order_of(job)
    return order_for(run, against=chapter.subject.removeprefix(_AGAINST) or BASE)


def _run_named(against: str) -> Run | None:
    return None if against in ("", BASE) else Run.named(against)


def guard_run(order: Order) -> Job:
    """The job that guards a run: the one that is running already, one that was interrupted and is
    started again, or a new one. LuthierError for the first thing that is wrong, before anything
    starts."""
    run = Run(Job(Path(order.run)))
    newest = next((job for job in _jobs(run) if order_of(job).against == order.against), None)
    if newest is not None and newest.alive():
        return newest
    check(run, order.earlier)
    probes_of(order)
    if newest is not None and not isinstance(newest.state(), Done) and order_of(newest) == order:
        start(newest)
        return newest
    settings = msgspec.to_builtins(order)
    return submit(
        Spec(
            **regression_guard.order(run.name, settings.pop("run"), settings.pop("model"), settings)
        )
    )


def check(run: Run, earlier: Run | None = None) -> None:
    """LuthierError if one of the runs has nothing to ask, or they cannot be compared: scores
    depend on the chat template."""
    if earlier is not None:
        check_reference(earlier, run.base_name)
        if earlier.id == run.id:
            raise LuthierError(
                "A run against itself",
                f"{run.id} is guarded against itself, which shows nothing.",
                "Name the run that it started from, or another of the same base.",
            )
    for each in (run, earlier):
        if each is not None:
            _check_template(each)


def _check_template(run: Run) -> None:
    model = own_model(run)
    tuned = ModelFolder(run.adapter() if model is None else model.path)
    base = ModelFolder(run.base)
    own_template = tuned.chat_template if model is not None or tuned.has_tokenizer else None
    if templates_differ(base.chat_template, own_template):
        raise different_templates(run, f"{tuned.path / tuned.template_source} differs from")


def different_templates(run: Run, what_differs: str) -> LuthierError:
    return LuthierError(
        "Two chat templates",
        f"{run.name} and its base {run.base_name} have different chat templates: {what_differs}"
        f" that of {run.base}. A guard would measure the templates, not the training.",
        "Train with the base's own template (no tokens.template in the recipe) to compare them.",
    )


def probes_of(order: Order) -> tuple[list[Probe], int]:
    """The probes that are asked, and how many rows of files Luthier cannot check. LuthierError if
    a file, a family or a bound is wrong."""
    probes, skipped = luthiers_probes(), 0
    for path in order.probes:
        further, unchecked = read_probes(Path(path), order.limit)
        probes += further
        skipped += unchecked
    families = list(dict.fromkeys([*FAMILIES, *(each.family for each in probes)]))
    check_bounds(order.points, families)
    check_families("The guard is to ask", order.only, families)
    return [each for each in probes if not order.only or each.family in order.only], skipped


def order_of(job: Job) -> Order:
    """LuthierError if the settings of the job are damaged."""
    return foreign.settings_of(job, Order)


def newest_job(run: Run) -> Job | None:
    """The newest guard of a run."""
    return next(_jobs(run), None)


def newest_result(run: Run) -> tuple[Job, Result] | None:
    """The newest guard of a run that came to its end."""
    for job in _jobs(run):
        result = results.read(job.directory)
        if result is not None:
            return job, result
    return None


def _jobs(run: Run) -> Iterator[Job]:
    return (job for job in all_jobs("guard") if is_about(job, run))


def is_about(job: Job, run: Run) -> bool:
    """Whether a job guards this run."""
    try:
        return order_of(job).run == str(run.folder.path)
    except LuthierError:  # damaged settings name no run
        return False
