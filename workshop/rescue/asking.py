"""Asking a hosted model every question: several at once, again with patience where it refuses or
breaks off, within a ceiling, and nothing twice that is in the cache.

Each attempt is in the cache before it is sent, with the most that it can cost: whatever happens to
this process, what may have been charged is counted.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any

import msgspec

from jobs import foreign_json
from jobs.luthier_error import LuthierError
from models import foreign
from serve.client import ContextExceeded, Endpoint, Refused, post, without_surrogates
from serve.comparison.journal import Entry, Journal
from workshop.rescue.budget import Budget, Tokens, most_tokens
from workshop.rescue.order import Order
from workshop.rescue.questions import Question

_FIRST_WAIT, _LONGEST_WAIT, _LONGEST_RETRY_AFTER = 1.0, 60.0, 900.0
# What passes, of HTTP's statuses; 529 is an overloaded server's.
_PASSING = frozenset({408, 409, 425, 429, 500, 502, 503, 504, 520, 522, 524, 529})
# What no other question would change: the key, the credit, the model.
_FINAL = frozenset({401, 402, 403, 404})
_NO_CREDIT = frozenset({"insufficient_quota", "billing_hard_limit_reached"})
_MOST_IN_A_ROW = 8
"""Questions that fail one after the other before the endpoint counts as gone."""


@dataclass
class Outcome:
    """What became of the questions. `over` is why the rescue ended before its end."""

    answered: int = 0
    refused: int = 0
    failed: int = 0
    first_failure: str = ""
    over: LuthierError | None = None
    at_ceiling: bool = False
    spent: Tokens = field(default_factory=Tokens)


class Asker:
    """One rescue's questions. `stopping` ends it with care: answers on their way are waited for."""

    def __init__(
        self,
        order: Order,
        endpoint: Endpoint,
        journal: Journal,
        stopping: Callable[[], bool],
        on_question: Callable[[Outcome], None],
    ) -> None:
        self._order, self._endpoint, self._journal = order, endpoint, journal
        self._stopping, self._on_question = stopping, on_question
        self.outcome = Outcome()
        self._in_a_row = 0
        self._not_before = 0.0
        self._length_name = "max_tokens"

    def key(self, question: Question) -> str:
        return self._order.key(question, self._endpoint.base_url)

    async def ask(self, questions: Sequence[Question]) -> Outcome:
        """Ask those that have no answer yet. What can be wrong with the endpoint is in the
        outcome."""
        spent = Tokens()
        for question in questions:
            spent = spent.plus(spent_on(self._journal.found.get(self.key(question))))
        budget = Budget(self._order.ceiling, spent)
        waiting = deque(unanswered(questions, self.key, self._journal))
        self.outcome.answered = len(questions) - len(waiting)
        async with asyncio.TaskGroup() as group:
            for _ in range(min(self._order.at_once, len(waiting))):
                group.create_task(self._work(waiting, budget))
        self.outcome.spent = budget.spent
        return self.outcome

    @property
    def _is_over(self) -> bool:
        return self.outcome.over is not None or self.outcome.at_ceiling or self._stopping()

    async def _work(self, waiting: deque[Question], budget: Budget) -> None:
        while waiting and not self._is_over:
            await self._answered(waiting.popleft(), budget)

    async def _answered(self, question: Question, budget: Budget) -> None:
        """Ask until there is an answer, or no hope of one."""
        for attempt in range(self._order.tries):
            await self._pause()
            if self._is_over:
                return
            try:
                if not await self._attempt(question, budget):
                    self.outcome.at_ceiling = True
                    return
            except LuthierError as error:
                if _is_final(error):
                    self.outcome.over = self.outcome.over or error
                    return
                if not _passes(error):
                    self._count_failure(error, refused=True)
                    return
                if attempt + 1 == self._order.tries:
                    self._count_failure(error, refused=False)
                    return
                await self._wait_after(error, attempt)
            else:
                self._in_a_row = 0
                self.outcome.answered += 1
                self._on_question(self.outcome)
                return

    async def _attempt(self, question: Question, budget: Budget) -> bool:
        """Ask once, and keep the answer. False if the ceiling does not allow it. LuthierError if
        there is no answer."""
        key, length = self.key(question), self._order.sampling.max_tokens
        most = most_tokens(question.messages, question.tools, length)
        if not await budget.reserve(most):
            return False
        before = _lost(self._journal.found.get(key))
        self._journal.add(key, error="no answer yet", lost=before.plus(most))
        lost = most
        try:
            message, used, origin = await self._post(question)
            used = used or most
            self._journal.add(
                key, error=None, message=message, used=used, lost=before, t=time.time(), **origin
            )
            lost = used
        except Refused as error:  # nothing was generated
            lost = Tokens()
            self._journal.add(key, error=f"{error.title}: {error.message}", lost=before)
            raise
        except LuthierError as error:
            self._journal.add(key, error=f"{error.title}: {error.message}", lost=before.plus(most))
            raise
        finally:
            await budget.settle(most, lost)
        return True

    async def _post(self, question: Question) -> tuple[dict[str, Any], Tokens | None, Entry]:
        sampling = self._order.sampling.fields()
        length = sampling.pop("max_tokens")
        body = {
            "model": self._order.model,
            "messages": question.messages,
            **({"tools": question.tools} if question.tools else {}),
            **sampling,
            self._length_name: length,
        }
        path = f"{self._endpoint.prefix}/chat/completions"
        try:
            answer = await post(self._endpoint, path, body, self._order.timeout)
        except Refused as error:
            # OpenAI's newer models refuse the older name
            if self._length_name == "max_tokens" and "max_completion_tokens" in error.message:
                self._length_name = "max_completion_tokens"
                return await self._post(question)
            raise
        return read_answer(answer)

    async def _pause(self) -> None:
        """Nobody is asked while the endpoint wants to be left alone."""
        while (seconds := self._not_before - time.monotonic()) > 0 and not self._is_over:
            await asyncio.sleep(min(seconds, 0.5))

    async def _wait_after(self, error: LuthierError, attempt: int) -> None:
        """As long as the endpoint says, or longer each time, and not all at once."""
        seconds_asked = error.retry_after if isinstance(error, Refused) else None
        if seconds_asked is not None:
            until = time.monotonic() + min(seconds_asked, _LONGEST_RETRY_AFTER)
            self._not_before = max(self._not_before, until)
            return
        longest = min(_LONGEST_WAIT, _FIRST_WAIT * 2**attempt)
        until = time.monotonic() + random.uniform(longest / 2, longest)
        while (seconds := until - time.monotonic()) > 0 and not self._is_over:
            await asyncio.sleep(min(seconds, 0.5))

    def _count_failure(self, error: LuthierError, *, refused: bool) -> None:
        self.outcome.refused += refused
        self.outcome.failed += not refused
        self.outcome.first_failure = self.outcome.first_failure or f"{error.title}: {error.message}"
        self._in_a_row += 1
        if self._in_a_row >= _MOST_IN_A_ROW:
            self.outcome.over = self.outcome.over or error
        self._on_question(self.outcome)


def unanswered(
    questions: Sequence[Question], key: Callable[[Question], str], journal: Journal
) -> list[Question]:
    return [question for question in questions if not is_answer(journal.found.get(key(question)))]


def is_answer(entry: Entry | None) -> bool:
    return entry is not None and entry.get("error") is None and "message" in entry


def spent_on(entry: Entry | None) -> Tokens:
    """All that a question has cost so far, with what broken-off attempts may have cost."""
    used = Tokens(*entry["used"]) if entry is not None and is_answer(entry) else Tokens()
    return used.plus(_lost(entry))


def _lost(entry: Entry | None) -> Tokens:
    return Tokens() if entry is None else Tokens(*entry.get("lost", ()))


def _is_final(error: LuthierError) -> bool:
    return isinstance(error, Refused) and (error.status in _FINAL or error.code in _NO_CREDIT)


def _passes(error: LuthierError) -> bool:
    """Whether the same question may be answered later."""
    if isinstance(error, ContextExceeded):
        return False
    return not isinstance(error, Refused) or error.status in _PASSING


class _Message(msgspec.Struct):
    content: str | None = None
    reasoning_content: str | None = None
    tool_calls: list[dict[str, Any]] | None = None


class _Choice(msgspec.Struct):
    message: _Message
    finish_reason: str


class _Usage(msgspec.Struct):
    prompt_tokens: int
    completion_tokens: int


class _Completion(msgspec.Struct):
    choices: Annotated[list[_Choice], msgspec.Meta(min_length=1)]
    usage: _Usage | None = None
    model: str | None = None


def read_answer(body: dict[str, Any]) -> tuple[dict[str, Any], Tokens | None, Entry]:
    """The message, its tokens if they are known, and what else is kept. LuthierError of half an
    answer."""
    try:
        completion = foreign.convert(body, _Completion, "the answer")
    except foreign_json.Damaged as error:
        raise LuthierError(
            "Half an answer", f"The endpoint's answer is not whole: {error.reason}.", ""
        ) from None
    answer, usage = completion.choices[0].message, completion.usage
    message = {"role": "assistant", "content": without_surrogates(answer.content or "")}
    if answer.reasoning_content:
        message["reasoning_content"] = without_surrogates(answer.reasoning_content)
    origin = {"reason": completion.choices[0].finish_reason, "model": completion.model or ""}
    calls = {"tool_calls": answer.tool_calls} if answer.tool_calls else {}
    used = None if usage is None else Tokens(usage.prompt_tokens, usage.completion_tokens)
    return {**message, **calls}, used, origin
