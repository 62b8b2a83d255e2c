"""The job of the spill-over map: `python -P -m workshop.drift.worker JOB_DIRECTORY`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from jobs.job import Job
from jobs.worker import WorkerContext, run_worker
from models.folder import ModelFolder
from models.runs import Run
from serve.comparison.journal import Journal
from serve.drift import judging, spill_map
from serve.drift.prompts import Prompt, heldout_prompts, of_file, own_prompts
from serve.drift.reading import Model, Reading, Text, readings, texts
from workshop.base_and_tuned import BaseAndTuned, SideName
from workshop.chapter_worker import ChapterWorker, Findings, make_chapter
from workshop.drift.launch import order_of


class _Mapper:
    """Has the models read the base's answers."""

    def __init__(self, context: WorkerContext) -> None:
        self.context = context
        self.order = order_of(context.job)
        self.run = Run(Job(Path(self.order.run)))
        self.unit = Run(Job(Path(self.order.unit))) if self.order.unit else None
        self.journal = Journal(context.directory / "answers.jsonl")
        limit = ModelFolder(self.run.base).context_length
        self.prompts: list[Prompt] = [
            *own_prompts(),
            *(of_file(Path(self.order.prompts)) if self.order.prompts else []),
            *heldout_prompts(self.run.folder, limit),
        ]
        self.job = ChapterWorker(context, len(self.prompts) * (4 if self.unit else 3))

    def measure(self) -> Findings:
        with BaseAndTuned(self.job, self.run, self.unit) as models:
            base = self._model(models, "base")
            self.context.phase("the base model answers")
            base_texts = self.job.ask(
                texts(base, self.prompts, self.journal, self.job.count_answer)
            )
            of_base = self.job.ask(self._read(base, base_texts))
            of_tuned = self.job.ask(self._read(self._model(models, "tuned"), base_texts))
            beside = None
            if self.unit is not None:
                beside = self.job.ask(self._read(self._model(models, "beside"), base_texts))
        spills = spill_map.spills(self.prompts, of_base, of_tuned, beside)
        spill_map.write(self.context.directory, spills)
        return Findings(
            judging.summary(spills),
            judging.checks(spills),
            judging.CALIBRATION,
            judging.figures(spills),
            models.folders,
        )

    def _model(self, models: BaseAndTuned, name: SideName) -> Model:
        side = models.side(name)
        self.context.phase(f"the {name} model reads")
        return Model(side.endpoint, side.model, side.identity)

    async def _read(self, model: Model, base_texts: list[Text]) -> list[Reading]:
        return await readings(model, base_texts, self.journal, self.job.count_answer)


def main(context: WorkerContext) -> dict[str, Any] | None:
    """The map into the job's folder, the chapter into the run's."""
    mapper = _Mapper(context)
    return make_chapter(context, "drift", mapper.run, mapper.measure)


if __name__ == "__main__":
    run_worker(main)
