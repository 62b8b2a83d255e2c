"""The job of a making: `python -P -m workshop.making.worker JOB_DIRECTORY`."""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from jobs.luthier_error import LuthierError
from jobs.worker import WorkerContext, run_worker
from models import events
from serve.comparison.journal import Journal
from workshop.asking.asker import Asker, Outcome, spent_on
from workshop.asking.budget import NOTHING
from workshop.asking.opening import open_journal
from workshop.making.conversations import (
    Conversations,
    asked,
    continued,
    sections,
    split,
    spoken,
    usable,
)
from workshop.making.document_files import names_of
from workshop.making.documents.document import Document
from workshop.making.documents.reading import read_all
from workshop.making.keeping import keep, provenance_of
from workshop.making.languages import language_of
from workshop.making.launch import cache_of
from workshop.making.order import Order, Role, Terms, order_of
from workshop.making.passages import Passage, passages_of, text_of, turns_of
from workshop.making.planning import write_plan
from workshop.making.questions import Questioner, Verdict
from workshop.making.speakers import roles_of


@dataclass
class _Reading:
    documents: list[Document]
    passages: list[Passage] = field(default_factory=list)
    languages: dict[str, str] = field(default_factory=dict)


def main(context: WorkerContext) -> dict[str, Any] | None:
    """Read, ask, check and keep. None if it was stopped first: what is answered stays cached."""
    order = order_of(context.job)
    reading = _read(context, order)
    if order.only_plan:
        write_plan(context.directory, order, reading.documents, reading.passages, reading.languages)
        return {"passages": len(reading.passages)}
    recipe = order.making.recipe
    conversations, outcome = Conversations(), None
    base_url, roles = "", dict[str, Role]()
    if recipe.method == "dialogue":
        roles = roles_of(reading.documents, order.roles)
        spoken(reading.passages, roles, recipe, conversations)
    else:
        kept = usable(reading.passages, recipe, conversations)
        if order.terms is None:
            continued(kept, recipe, conversations)
        else:
            base_url = order.terms.endpoint().base_url
            outcome = _ask(context, order, order.terms, kept, conversations)
    split(conversations, recipe.heldout)
    context.phase("keeping the conversations")
    figures = _keep(order, base_url, reading.documents, conversations, roles, outcome)
    if outcome is not None and outcome.over is not None:
        unanswered_count = figures["unanswered"]
        raise LuthierError(
            outcome.over.title,
            f"{outcome.over.message.rstrip('.')}. {unanswered_count:,} of"
            f" {figures['passages']:,} passages are still open.",
            f"{outcome.over.hint} The same command continues from there.".strip(),
        )
    if context.stopping.is_set():
        return None
    return figures


def _read(context: WorkerContext, order: Order) -> _Reading:
    paths = [Path(file) for file in order.files]
    context.phase("reading the documents")
    documents = read_all(paths, lambda path: context.phase(f"reading {path.name}"))
    for document, name in zip(documents, names_of(paths), strict=True):
        document.file = name
    reading = _Reading(documents)
    for document in documents:
        context.phase(f"cutting {document.file}")
        language = reading.languages[document.file] = language_of(text_of(document))
        number = len(reading.passages)
        if order.making.recipe.method == "dialogue":
            reading.passages += turns_of(document, language, number)
        else:
            limits = order.making.recipe.passages
            reading.passages += passages_of(document, limits, language, number)
        if order.limit:
            del reading.passages[order.limit :]
    return reading


def _ask(
    context: WorkerContext,
    order: Order,
    terms: Terms,
    passages: list[Passage],
    conversations: Conversations,
) -> Outcome:
    """Ask about the passages, and make the conversations."""
    recipe, endpoint = order.making.recipe, terms.endpoint()
    groups = sections(passages, recipe)
    verdicts: list[list[Verdict]] = [[Verdict(passage) for passage in group] for group in groups]
    done = 0
    context.phase(f"asking {terms.model}")
    events.tell(context, events.Step(done, total=len(passages)))

    async def work(waiting: deque[int], questioner: Questioner, asker: Asker) -> None:
        nonlocal done
        while waiting and not asker.is_over:
            index = waiting.popleft()
            verdicts[index] = await questioner.verdicts(groups[index])
            done += len(groups[index])
            events.tell(context, events.Step(done, total=len(passages)))

    async def ask_all(journal: Journal) -> Outcome:
        marks = {"for": order.out}
        spent = NOTHING
        for entry in journal.found.values():
            spent = spent.plus(spent_on(entry)) if entry.get("for") == order.out else spent
        asker = Asker(
            terms, endpoint, journal, context.stopping.is_set, lambda outcome: None, spent, marks
        )
        questioner = Questioner(order.making, asker)
        waiting = deque(range(len(groups)))
        async with asyncio.TaskGroup() as tasks:
            # twice as many as may ask: while one section waits to be asked back, another one asks
            for _ in range(min(2 * terms.at_once, len(groups))):
                tasks.create_task(work(waiting, questioner, asker))
        return asker.outcome

    with open_journal(cache_of(terms.model, endpoint.base_url), terms.model) as journal:
        outcome = asyncio.run(ask_all(journal))
    asked(verdicts, recipe, conversations)
    return outcome


def _keep(
    order: Order,
    base_url: str,
    documents: list[Document],
    conversations: Conversations,
    roles: dict[str, Role],
    outcome: Outcome | None,
) -> dict[str, Any]:
    left_out: Counter[str] = Counter()
    for document in documents:
        left_out.update(document.left_out)
    provenance = msgspec.structs.replace(provenance_of(order, base_url), left_out=dict(+left_out))
    rows = {
        part: [row.as_data() for row in conversations.rows if row.part == part]
        for part in ("train", "heldout")
    }
    entries = [conversations.entries[number] for number in sorted(conversations.entries)]
    texts = {document.file: text_of(document) for document in documents}
    kept = keep(order, provenance, rows, entries, texts, outcome)
    figures = {
        "folder": order.out,
        "passages": kept.passages,
        "kept": kept.counts.get("kept", 0),
        "rejected": kept.counts.get("rejected", 0),
        "unanswered": kept.counts.get("unanswered", 0),
        "train": kept.train,
        "heldout": kept.heldout,
        "reasons": {
            name.partition(": ")[2]: count for name, count in kept.counts.items() if ": " in name
        },
    }
    if outcome is None or order.terms is None:
        return figures
    return {
        **figures,
        "at_ceiling": outcome.at_ceiling,
        "first_failure": outcome.first_failure,
        "tokens_in": outcome.spent.prompt,
        "tokens_out": outcome.spent.completion,
        "cost": round(order.terms.ceiling.cost_of(outcome.spent), 6),
    }


if __name__ == "__main__":
    run_worker(main)
