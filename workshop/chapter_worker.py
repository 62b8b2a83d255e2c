"""What the jobs of chapters do alike: they ask a lent server, count what is answered, and write the
chapter of what was measured."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from jobs.worker import WorkerContext
from models import certificate, chapters
from models.certificate import Check
from models.chapters import Chapter, ChapterKind
from models.events import Step, tell
from models.runs import Run
from workshop.asking_job import AskingJob, Stopped

_Result = TypeVar("_Result")


@dataclass(frozen=True)
class Findings:
    """What was measured of a run's model, judged."""

    summary: str
    checks: list[Check]
    calibration: str
    figures: dict[str, Any]
    folders: list[Path]
    """Where the weights lie that it speaks of."""


class ChapterWorker(AskingJob):
    """`total` is how many answers it needs."""

    def __init__(self, context: WorkerContext, total: int) -> None:
        super().__init__(context)
        self._total, self._done = total, 0

    def ask(self, work: Awaitable[_Result]) -> _Result:
        """Do work that asks the server. Stopped if the job is to end meanwhile."""
        results: list[_Result] = []

        async def keep_result() -> None:
            results.append(await work)

        asyncio.run(self._until_stopped(keep_result()))
        return results[0]

    def count_answer(self) -> None:
        self._done += 1
        tell(self.context, Step(step=self._done, total=self._total))


def make_chapter(
    context: WorkerContext,
    kind: ChapterKind,
    run: Run,
    measure: Callable[[], Findings],
    subject: str = "",
) -> dict[str, Any] | None:
    """Measure, and write the chapter into the run's folder: the job's result. None if it was
    stopped first: what was answered is kept, and the earlier chapter stays."""
    began = time.monotonic()
    try:
        findings = measure()
    except Stopped:
        return None
    chapter = Chapter(
        kind=kind,
        subject=subject,
        summary=findings.summary,
        made=time.time(),
        seconds=round(time.monotonic() - began, 1),
        job=context.job.id,
        checks=findings.checks,
        calibration=findings.calibration,
        figures=findings.figures,
        versions={"device": "gpu" if run.on_gpu else "cpu"},
        files=certificate.stamps(*findings.folders),
    )
    path = chapters.write(run.folder.path, chapter)
    return {
        "verdict": chapter.verdict,
        "summary": chapter.summary,
        "chapter": str(path),
        "seconds": chapter.seconds,
    }
