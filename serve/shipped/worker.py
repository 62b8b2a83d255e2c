"""The job that certifies what is shipped of a run: `python -P -m serve.shipped.worker
JOB_DIRECTORY`.

First what the file says of texts and their ends, then transformers with PEFT as the trained model,
then the file itself and the base in the same form, each in a process of its own.
"""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, TypeVar

from jobs import processes
from jobs.files import folder_bytes
from jobs.job import Job
from jobs.luthier_error import LuthierError
from jobs.worker import WorkerContext, run_worker
from models import certificate, chapters, foreign
from models.chapters import Chapter
from models.export.form_papers import add_chapter
from models.folder import ModelFolder
from models.gguf_file import GgufFile
from models.runs import Run
from models.weights import weight_files
from serve.certificate import asking
from serve.certificate.agreement import difference
from serve.certificate.launch import merged_directory
from serve.certificate.measured import Broken, Orders, Scores, write
from serve.certificate.stoppable import Stopped, run_process, run_reference, wait_for
from serve.certificate.turns import PROBES, choose_samples
from serve.shipped import agreement, folders, ggufs, server
from serve.shipped.agreement import Measured
from serve.shipped.launch import settings_of
from serve.shipped.measured import Question, Said
from serve.shipped.subject import Subject
from serve.shipped.tokenizer_checks import Tokenizer

_REFERENCE_SECONDS, _SCORING_SECONDS, _TWIN_SECONDS = 25.0, 25.0, 30.0

_TITLES = {"shipped": "what is shipped", "twin": "the base in the same form"}

_Result = TypeVar("_Result")


class ShippedCertifier:
    """One chapter, from the files of a run and what is shipped of it to its checks."""

    def __init__(self, context: WorkerContext) -> None:
        self.context = context
        self.settings = settings_of(context.job)
        self.run = Run(Job(Path(self.settings.run)))
        self.subject = Subject(self.settings.kind, self.settings.shipped)
        self.base = self.run.base
        full = self.run.has_model
        self.made = self.run.folder.model if full else self.run.folder.adapter
        self.exported = self.made if full else merged_directory(self.run.folder.path)
        own_tokens = ModelFolder(self.made).has_tokenizer
        self.tokenizer_folder = self.made if own_tokens else self.base
        # the process with transformers makes it
        self.began_from = context.directory / "base" if own_tokens else self.base
        self.device = "cuda" if self.run.on_gpu else "cpu"
        limit = ModelFolder(self.base).context_length
        self.source, self.samples = choose_samples(self.run.folder.data, limit)
        longest = max(len(sample.input_ids) for sample in self.samples) + asking.ROOM
        self.run_context = longest if limit is None else min(longest, limit)
        self.probes = list(PROBES)

    def make(self) -> Chapter:
        """Measure and judge. Raises Stopped when it is to end."""
        began = time.monotonic()
        self.phase("reading what is shipped", _REFERENCE_SECONDS, *self._scoring)
        trained = Tokenizer.of(self.tokenizer_folder, self._stops())
        self._look()
        self.phase("loading transformers", _REFERENCE_SECONDS, *self._scoring)
        reference = run_reference(self.context, self._orders())
        if not isinstance(reference.base, Scores) or not isinstance(reference.tuned, Scores):
            broken = reference.base if isinstance(reference.base, Broken) else reference.tuned
            reason = broken.reason if isinstance(broken, Broken) else "it was not tried"
            raise LuthierError(
                "The trained model cannot be run",
                f"transformers: {reason}.",
                f"`luthier certify {self.run.id}` says more.",
            )
        match self.subject.kind:
            case "gguf":
                evidence = ggufs.evidence(self, trained)
            case "server":
                evidence = server.evidence(self, reference)
            case "folder" | "compressed-tensors":
                evidence = folders.evidence(self, trained)
        measured = Measured(
            reference.base,
            reference.tuned,
            evidence.shipped.scores,
            evidence.twin.scores if evidence.twin is not None else None,
            evidence.uncalibrated,
        )
        checks = [*evidence.checks, *agreement.checks(measured, evidence.title)]
        return Chapter(
            kind="shipped",
            subject=self.subject.name,
            summary=self._summary(measured, evidence.shipped),
            made=time.time(),
            seconds=round(time.monotonic() - began, 1),
            job=self.context.job.id,
            checks=checks,
            calibration=evidence.calibration,
            figures=self._figures(measured, evidence.shipped, evidence.twin),
            versions={**reference.versions, "engine": evidence.shipped.engine},
            files=self._stamps(),
        )

    def _look(self) -> None:
        """LuthierError for what is damaged or does not answer, before anything slow begins."""
        match self.subject.kind:
            case "gguf":
                GgufFile(self.subject.path)
            case "server":
                server.connect(self)
            case "folder" | "compressed-tensors":
                weight_files(self.subject.path)

    def phase(self, name: str, *seconds: float) -> None:
        if self.context.stopping.is_set():
            raise Stopped
        self.context.phase(name, seconds_left=sum(seconds))

    @property
    def _scoring(self) -> tuple[float, float]:
        return _TWIN_SECONDS, 2 * _SCORING_SECONDS

    def ask(self, command: list[str], name: str, question: Question, program: str) -> Said:
        """What a program says of a file, from a process that has ended."""
        self.phase(f"{_TITLES[name]} in {program}", _SCORING_SECONDS)
        paths = [self.context.directory / f"{name}-{part}.json" for part in ("question", "answer")]
        write(paths[0], question)
        run_process(self.context, [*command, *map(str, paths)], program)
        return foreign.read(paths[1], Said)

    def ask_transformers(
        self, name: str, path: Path, dtype: str = "", trained: Path | None = None
    ) -> Said:
        command = [sys.executable, "-P", "-m", "serve.shipped.transformers_scores"]
        question = Question(
            str(path),
            self.device,
            self.samples,
            dtype=dtype,
            trained="" if trained is None else str(trained),
        )
        return self.ask(command, name, question, "transformers")

    def wait_for(self, work: Coroutine[Any, Any, _Result]) -> _Result:
        return wait_for(self.context, work)

    def _stops(self) -> list[int]:
        """The tokens that training ended answers with."""
        return sorted(
            {sample.input_ids[turn.end - 1] for sample in self.samples for turn in sample.turns}
        )

    def _orders(self) -> Orders:
        return Orders(
            base=str(self.base),
            adapter=str(self.made),
            merged=None,
            device=self.device,
            samples=self.samples,
            probes=self.probes,
            grown="" if self.began_from == self.base else str(self.began_from),
            stop_ids=self.run.trained_stops or [],
        )

    def _summary(self, measured: Measured, shipped: Said) -> str:
        if isinstance(measured.shipped, Broken):
            return f"It cannot be run: {measured.shipped.reason}."
        gap = difference(measured.tuned, measured.shipped)
        distance = agreement.in_noise(measured)
        far = (
            f"{distance:.1f} times the noise of its form"
            if distance is not None
            else f"{gap.spread:.3f} nats a token"
        )
        return (
            f"It is {far} from the trained model, and {gap.disagreed:.1%} of its first choices"
            f" differ, in {shipped.engine}."
        )

    def _figures(self, measured: Measured, shipped: Said, twin: Said | None) -> dict[str, Any]:
        figures: dict[str, Any] = {
            "distance_in_noise": agreement.in_noise(measured),
            "engine": shipped.engine,
            "tokens_per_second": shipped.speed(self.samples),
            "tokens": len(measured.tuned.first),
            "file": self.source,
        }
        if isinstance(measured.shipped, Scores):
            gap = difference(measured.tuned, measured.shipped)
            figures |= {
                "nll": {
                    "base": measured.base.nll,
                    "tuned": measured.tuned.nll,
                    "shipped": measured.shipped.nll,
                },
                "spread": gap.spread,
                "flipped": gap.disagreed,
            }
        if twin is not None and isinstance(twin.scores, Scores):
            figures["noise"] = difference(measured.base, twin.scores).spread
        if self.subject.kind != "server":
            figures["bytes"] = _bytes(self.subject.path)
        if self.exported is not None:
            figures["bytes_trained"] = _bytes(self.exported)
        return figures

    def _stamps(self) -> list[certificate.Stamp]:
        if self.subject.kind == "server":
            return []
        if self.subject.kind == "gguf":
            stat = self.subject.path.stat()
            return [certificate.Stamp(self.subject.name, stat.st_size, stat.st_mtime_ns)]
        return certificate.stamps(self.subject.path)


def _bytes(path: Path) -> int:
    return path.stat().st_size if path.is_file() else folder_bytes(path)


def main(context: WorkerContext) -> dict[str, Any] | None:
    """Make the chapter and write it into the run's folder. None if it was stopped first: then the
    earlier one stays."""
    processes.adopt_orphans()
    certifier = ShippedCertifier(context)
    try:
        written = certifier.make()
    except Stopped:
        return None
    finally:
        for name in ("base", "twin"):
            shutil.rmtree(context.directory / name, ignore_errors=True)
        for path in context.directory.glob("twin*.gguf*"):
            path.unlink()
    path = chapters.write(certifier.run.folder.path, written)
    if certifier.subject.kind != "server":
        add_chapter(certifier.subject.path, written)
    return {
        "verdict": written.verdict,
        "reasons": [check.sentence for check in chapters.faults([written])],
        "chapter": str(path),
        "seconds": written.seconds,
    }


if __name__ == "__main__":
    run_worker(main)
