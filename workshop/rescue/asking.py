"""Asking the old model every question of a rescue, each once."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence

from serve.client import Endpoint
from serve.comparison.journal import Journal
from workshop.asking.asker import Asker, Outcome, is_answer, spent_on
from workshop.asking.budget import Tokens
from workshop.rescue.order import Order
from workshop.rescue.questions import Question


async def ask_all(
    order: Order,
    endpoint: Endpoint,
    journal: Journal,
    questions: Sequence[Question],
    stopping: Callable[[], bool],
    on_question: Callable[[Outcome], None],
) -> Outcome:
    """Ask those that have no answer yet. What can be wrong with the endpoint is in the outcome."""
    spent = Tokens()
    for question in questions:
        spent = spent.plus(spent_on(journal.found.get(order.key(question, endpoint.base_url))))
    waiting = deque(unanswered(order, endpoint.base_url, questions, journal))
    asker = Asker(order, endpoint, journal, stopping, on_question, spent)
    asker.outcome.answered = len(questions) - len(waiting)

    async def work() -> None:
        while waiting and not asker.is_over:
            await asker.answer(order.request(waiting.popleft()))

    async with asyncio.TaskGroup() as group:
        for _ in range(min(order.at_once, len(waiting))):
            group.create_task(work())
    return asker.outcome


def unanswered(
    order: Order, base_url: str, questions: Sequence[Question], journal: Journal
) -> list[Question]:
    return [
        question
        for question in questions
        if not is_answer(journal.found.get(order.key(question, base_url)))
    ]
