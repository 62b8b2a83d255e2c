"""The job of a rescue: `python -P -m workshop.rescue.worker JOB_DIRECTORY`."""

from __future__ import annotations

import asyncio
from typing import Any

from jobs.luthier_error import LuthierError
from jobs.worker import WorkerContext, run_worker
from models import events
from workshop.asking.asker import Outcome
from workshop.asking.opening import open_journal
from workshop.rescue.asking import ask_all
from workshop.rescue.kept import entries_of, keep
from workshop.rescue.launch import cache_of
from workshop.rescue.order import order_of
from workshop.rescue.questions import stored_questions
from workshop.rescue.training import train_on


def main(context: WorkerContext) -> dict[str, Any] | None:
    """Ask and keep. None if it was stopped first: the answers so far are kept all the same."""
    order = order_of(context.job)
    endpoint, questions = order.endpoint(), stored_questions(context.directory)
    context.phase(f"asking {order.model}")

    def report_progress(outcome: Outcome) -> None:
        failures = outcome.failed + outcome.refused
        events.tell(context, events.Step(outcome.answered + failures, total=len(questions)))

    with open_journal(cache_of(order.model, endpoint.base_url), order.model) as journal:
        outcome = asyncio.run(
            ask_all(order, endpoint, journal, questions, context.stopping.is_set, report_progress)
        )
    entries = entries_of(order, endpoint.base_url, questions, journal)
    context.phase("keeping the answers")
    provenance = keep(order, endpoint.base_url, questions, entries, outcome)
    unanswered_count = len(questions) - outcome.answered
    if outcome.over is not None:
        raise LuthierError(
            outcome.over.title,
            f"{outcome.over.message.rstrip('.')}. {outcome.answered:,} of {len(questions):,}"
            f" questions are answered, and the answers are kept in {order.out}.",
            f"{outcome.over.hint} The same command continues from there.".strip(),
        )
    if context.stopping.is_set():
        return None
    figures: dict[str, Any] = {
        "model": order.model,
        "questions": len(questions),
        "answered": outcome.answered,
        "refused": outcome.refused,
        "failed": outcome.failed,
        "left": unanswered_count - outcome.refused - outcome.failed,
        "first_failure": outcome.first_failure,
        "at_ceiling": outcome.at_ceiling,
        "tokens_in": outcome.spent.prompt,
        "tokens_out": outcome.spent.completion,
        "cost": round(order.ceiling.cost_of(outcome.spent), 6),
        "rows": provenance.rows,
        "folder": order.out,
    }
    return {**figures, "run": train_on(order, figures) if order.base else ""}


if __name__ == "__main__":
    run_worker(main)
