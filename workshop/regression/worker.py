"""The job of a guard: `python -P -m workshop.regression.worker JOB_DIRECTORY`.

Base and tuned are asked every probe through one server, or one after the other through two where
the tuned model is a model of its own. Answers are kept as they come; a job that goes on asks only
for those that are missing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec

from jobs.job import Job
from jobs.luthier_error import LuthierError
from jobs.worker import WorkerContext, run_worker
from models.runs import Run
from serve.certificate.launch import living_job
from serve.comparison.asking import Contender
from serve.comparison.journal import Entry, Journal
from serve.plan import BASE
from serve.planning import NamedAdapter
from workshop.asking_job import AskingJob, Stopped
from workshop.chapter_worker import Findings, make_chapter
from workshop.comparison.compare import contenders
from workshop.regression import result as results
from workshop.regression.asking import Asked, ask, missing, rendered_prompt
from workshop.regression.expectation import in_words
from workshop.regression.launch import Order, check, different_templates, order_of, probes_of
from workshop.regression.probes import Passage, Probe, passages
from workshop.regression.report import write_report
from workshop.regression.result import Item, PassageLoss, Reply, Result
from workshop.regression.scorers import passes
from workshop.served_runs import adapters_of, own_model

ANSWERS_FILE = "answers.jsonl"
_LOOK_SECONDS = 0.5
_CALIBRATION = (
    "Two-sided exact McNemar tests (for the loss, a sign test over the passages), corrected"
    " together by Holm's method at 5 %: red needs a loss beyond the bound and a significant test."
)


class Guard:
    """One guard, from the probes to the chapter."""

    def __init__(self, context: WorkerContext, order: Order, run: Run) -> None:
        self._context, self._order, self._run = context, order, run
        self._earlier = order.earlier
        self._job = AskingJob(context)
        self._journal = Journal(context.directory / ANSWERS_FILE)
        self._probes, self._skipped = probes_of(order)
        self._passages = passages()
        self._prompts: list[list[int]] = []

    def result(self) -> Result:
        """Ask what is missing, and score everything. LuthierError if nothing was answered."""
        base, tuned = self._ask_both()
        result = Result(
            self._run.id,
            self._reference,
            self._run.name,
            [self._item(probe, base, tuned) for probe in self._probes],
            [*filter(None, (self._loss(each, base, tuned) for each in self._passages))],
            self._order.points,
            self._order.text_loss,
            self._skipped,
        )
        if all(item.outcome == "unanswered" for item in result.items):
            first = result.items[0]
            raise LuthierError(
                "No probe was answered",
                first.base.error or first.tuned.error,
                "The server's log has the details. The same command asks again.",
            )
        return result

    @property
    def _reference(self) -> str:
        """What the result calls the model that the tuned one is held against."""
        if self._earlier is None:
            return BASE
        return self._earlier.id if self._earlier.name == self._run.name else self._earlier.name

    def _ask_both(self) -> tuple[Contender, Contender]:
        """The model that the tuned one is held against, and that one, once they have answered."""
        runs = [*filter(None, (self._earlier, self._run))]
        if all(own_model(run) is None for run in runs):
            base, tuned = self._ask(*adapters_of(runs), of=2)
            return base, tuned
        return self._ask_alone(self._earlier), self._ask_alone(self._run)

    def _ask_alone(self, run: Run | None) -> Contender:
        """One model by a server of its own: a run's, or the base."""
        if run is None:
            served: tuple[str, list[NamedAdapter]] = (self._run.base_name, [])
        else:
            model = own_model(run)
            served = adapters_of([run]) if model is None else (model.name, [])
        (contender,) = self._ask(*served, of=1)
        return contender

    def _ask(self, name: str, adapters: list[NamedAdapter], of: int) -> list[Contender]:
        """Have one server asked about the last so many of its models: the base comes first, then
        its adapters. Those models."""
        with self._job.lend(name, adapters) as server:
            models = contenders(server, name, adapters)[-of:]
            for model in models:
                self._check_prompt(asyncio.run(rendered_prompt(server.endpoint, model.name)))
            subjects: list[Probe | Passage] = [*self._probes, *self._passages]
            # a model's own before the next one's: serve.comparison.asking.missing says why
            every = [Asked(model, subject) for model in models for subject in subjects]
            questions = missing(every, self._journal)

            def ask_all(on_entry: Callable[[Entry], None]) -> Awaitable[None]:
                return ask(server.endpoint, questions, self._journal, on_entry)

            self._job.count("Asking", len(questions), ask_all)
        return models

    def _check_prompt(self, token_ids: list[int]) -> None:
        """LuthierError if this model's prompt differs from the others': then the answers would
        compare templates."""
        self._prompts.append(token_ids)
        if token_ids != self._prompts[0]:
            raise different_templates(
                self._run, "the server writes a prompt of other tokens for it than for"
            )

    def _item(self, probe: Probe, base: Contender, tuned: Contender) -> Item:
        return Item(
            probe.id,
            probe.family,
            probe.prompt,
            in_words(probe.expect),
            self._reply(probe, base),
            self._reply(probe, tuned),
            probe.system,
        )

    def _reply(self, probe: Probe, model: Contender) -> Reply:
        entry = self._journal.found.get(Asked(model, probe).key)
        if entry is None or entry.get("error") is not None:
            error = "not asked" if entry is None else str(entry["error"])
            return Reply("" if entry is None else str(entry.get("text") or ""), False, error)
        text = str(entry["text"])
        ended = entry.get("reason") == "stop"
        return Reply(text, passes(probe.expect, text, ended=ended))

    def _loss(self, passage: Passage, base: Contender, tuned: Contender) -> PassageLoss | None:
        entries = [self._journal.found.get(Asked(model, passage).key) for model in (base, tuned)]
        losses = [
            (float(entry["loss"]), int(entry["tokens"]))
            for entry in entries
            if entry is not None and entry.get("error") is None
        ]
        if len(losses) < 2:
            return None
        (base_loss, tokens), (tuned_loss, _) = losses
        return PassageLoss(passage.id, passage.text, tokens, base_loss, tuned_loss)


def main(context: WorkerContext) -> dict[str, Any] | None:
    """Guard the run: the report into the job's folder, the chapter into the run's."""
    order = order_of(context.job)
    run = Run(Job(Path(order.run)))
    check(run, order.earlier)

    def measure() -> Findings:
        _wait_for_certificate(context, run)
        result = Guard(context, order, run).result()
        results.write(context.directory, result)
        write_report(context.directory, result)
        numbers = results.figures(result)
        models = [
            each.folder.model if each.has_model else each.folder.adapter
            for each in filter(None, (order.earlier, run))
        ]
        return Findings(
            results.summary(numbers),
            results.checks(numbers),
            _CALIBRATION,
            msgspec.to_builtins(numbers),
            [run.base, *models],
        )

    return make_chapter(context, "guard", run, measure, order.subject)


def _wait_for_certificate(context: WorkerContext, run: Run) -> None:
    """Two vLLMs at once would take each other's cores or memory; the one that a certificate leaves
    to the chat will do here, too."""
    while (certificate_job := living_job(run)) is not None:
        context.phase(f"waiting for the certificate {certificate_job.id}")
        while certificate_job.alive():
            if context.stopping.wait(_LOOK_SECONDS):
                raise Stopped


if __name__ == "__main__":
    run_worker(main)
