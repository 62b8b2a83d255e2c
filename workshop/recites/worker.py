"""The job of the leak meter: `python -P -m workshop.recites.worker JOB_DIRECTORY`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from jobs.job import Job
from jobs.luthier_error import LuthierError
from jobs.worker import WorkerContext, run_worker
from models.folder import ModelFolder
from models.runs import Run
from serve.comparison.journal import Journal
from serve.recites import asking, canaries, judging
from serve.recites.judging import Recital
from serve.recites.passages import Passage, choose
from workshop.base_and_tuned import SIDES, BaseAndTuned, Side, SideName
from workshop.chapter_worker import ChapterWorker, Findings, make_chapter
from workshop.recites.launch import HELDOUT_ROWS, order_of


class _Meter:
    """Asks both models for the same passages."""

    def __init__(self, context: WorkerContext) -> None:
        self.context = context
        self.order = order_of(context.job)
        self.run = Run(Job(Path(self.order.run)))
        self.journal = Journal(context.directory / "answers.jsonl")
        self.passages = self._choose()
        self.canaries = (
            canaries.located(Path(self.order.canaries), self.run.folder)
            if self.order.canaries
            else []
        )
        answers = len(self.passages) + canaries.questions(self.canaries)
        self.job = ChapterWorker(context, len(SIDES) * answers)

    def _choose(self) -> list[Passage]:
        limit = ModelFolder(self.run.base).context_length
        trained, heldout = choose(self.run.folder, self.order.rows, HELDOUT_ROWS, limit)
        if not trained.chosen_passages:
            raise LuthierError(
                "No answer is long enough",
                f"All {trained.too_short} training answers are too short: a right answer would"
                " look like a recited one.",
                "The leak meter is for answers of at least two dozen tokens.",
            )
        return [*trained.chosen_passages, *heldout.chosen_passages]

    def measure(self) -> Findings:
        matched: dict[SideName, list[int]] = {}
        likelihoods: dict[SideName, list[list[float]]] = {}
        with BaseAndTuned(self.job, self.run) as models:
            for name in SIDES:
                side = models.side(name)
                self.context.phase(f"asking the {name} model")
                matched[name], likelihoods[name] = self.job.ask(self._ask(side))
        recitals = [
            Recital(passage, base, tuned)
            for passage, base, tuned in zip(
                self.passages, matched["base"], matched["tuned"], strict=True
            )
        ]
        trained = [recital for recital in recitals if recital.passage.trained]
        heldout = [recital for recital in recitals if not recital.passage.trained]
        exposures = canaries.exposures(self.canaries, likelihoods["base"], likelihoods["tuned"])
        return Findings(
            judging.summary(trained),
            [*judging.checks(trained, heldout), *map(canaries.check, exposures)],
            judging.CALIBRATION,
            judging.figures(trained, heldout),
            models.folders,
        )

    async def _ask(self, side: Side) -> tuple[list[int], list[list[float]]]:
        who = (side.endpoint, side.model, side.identity)
        return (
            await asking.continue_all(*who, self.passages, self.journal, self.job.count_answer),
            await canaries.score_all(*who, self.canaries, self.journal, self.job.count_answer),
        )


def main(context: WorkerContext) -> dict[str, Any] | None:
    """The chapter into the run's folder."""
    context.phase("choosing answers")
    meter = _Meter(context)
    return make_chapter(context, "recites", meter.run, meter.measure)


if __name__ == "__main__":
    run_worker(main)
