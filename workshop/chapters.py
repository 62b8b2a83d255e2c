"""Who makes the further chapters of a run's certificate: each by a job of its own. A new chapter is
a line in MAKERS."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from jobs.job import Job
from models.chapters import Chapter, ChapterKind
from models.runs import Run
from serve.certificate.launch import is_about
from workshop.job_list import JobRow


@dataclass(frozen=True)
class Maker:
    """How a chapter comes about."""

    kind: ChapterKind
    key: str
    """What starts it from the certificate's page."""
    command: str
    """What starts it from a terminal, with {run} for the run's name."""
    question: str
    """What it answers, for whoever has not made it yet."""
    start: Callable[[Run, Chapter | None], Job] | None = None
    """Starts its job, or gives the one that is already making it. With a chapter, it is made again
    from the same settings. None if a form must first ask what to measure
    (`tui.shared.shipped_form`)."""


def _recites(run: Run, again: Chapter | None) -> Job:
    from workshop.recites.launch import recites, recites_again

    return recites(run) if again is None else recites_again(run, again)


def _drift(run: Run, again: Chapter | None) -> Job:
    from workshop.drift.launch import drift, drift_again

    return drift(run) if again is None else drift_again(run, again)


def _guard(run: Run, again: Chapter | None) -> Job:
    from workshop.regression.launch import guard_run, order_behind, order_for

    return guard_run(order_for(run) if again is None else order_behind(run, again))


MAKERS: tuple[Maker, ...] = (
    Maker(
        "shipped",
        "s",
        "luthier certify {run} --shipped FILE",
        "Is the export the trained model?",
    ),
    Maker("guard", "g", "luthier guard {run}", "What did it win and lose?", _guard),
    Maker("recites", "r", "luthier recites {run}", "Does it recite its training data?", _recites),
    Maker("drift", "d", "luthier drift {run}", "Did it change outside your data?", _drift),
)


def being_made(rows: Iterable[JobRow], run: Run) -> list[ChapterKind]:
    """The chapters of this run that a job is at. Its kind is the chapter's."""
    alive = [row.kind for row in rows if row.alive and is_about(row.job, run)]
    return [maker.kind for maker in MAKERS if maker.kind in alive]
