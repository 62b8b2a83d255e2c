"""Asking an endpoint: several questions at once, again with patience where it refuses or breaks
off, no faster than allowed, within a ceiling, and nothing twice that is in the cache.

Each attempt is in the cache before it is sent, with the most that it can cost: whatever happens to
this process, what may have been charged is counted.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Annotated, Any, Protocol

import msgspec

from jobs import foreign_json
from jobs.files import flush
from jobs.luthier_error import LuthierError
from models import foreign
from serve.client import (
    ChatMessage,
    ContextExceeded,
    Endpoint,
    Refused,
    Unreachable,
    post,
    without_surrogates,
)
from serve.comparison.journal import Entry, Journal, key_of
from workshop.asking.budget import NOTHING, Budget, Ceiling, Tokens, most_tokens

_FIRST_WAIT, _LONGEST_WAIT, _LONGEST_RETRY_AFTER = 1.0, 60.0, 900.0
# What passes, of HTTP's statuses; 529 is an overloaded server's.
_PASSING = frozenset({408, 409, 425, 429, 500, 502, 503, 504, 520, 522, 524, 529})
# What no other question would change: the key, the credit, the model.
_FINAL = frozenset({401, 402, 403, 404})
_NO_CREDIT = frozenset({"insufficient_quota", "billing_hard_limit_reached"})
# What says that the provider does not want this one question.
_FILTERED = frozenset({"content_filter", "content_policy_violation", "invalid_prompt"})
_TRIES_TO_REACH = 4
"""For an endpoint that has never answered. Its address is probably wrong, and whoever typed it is
waiting to hear so."""
_MOST_IN_A_ROW = 8
"""Questions that fail one after the other before the endpoint counts as gone."""
# How endpoints without structured output refuse a schema.
_NO_SCHEMA = ("response_format", "json_schema", "guided", "structured")


class Terms(Protocol):
    """How an endpoint is asked."""

    @property
    def model(self) -> str: ...
    @property
    def at_once(self) -> int: ...
    @property
    def tries(self) -> int:
        """How often a question is asked before it counts as failed."""

    @property
    def timeout(self) -> float:
        """Seconds without an answer."""

    @property
    def per_minute(self) -> int | None:
        """The most attempts in a minute."""

    @property
    def ceiling(self) -> Ceiling: ...


@dataclass(frozen=True)
class Request:
    """`sampling` has `max_tokens` at least. `schema` is the JSON schema that an answer should
    follow; an endpoint without structured output is asked without it."""

    messages: list[ChatMessage]
    sampling: dict[str, Any]
    tools: list[dict[str, Any]] = field(default_factory=list)
    schema: dict[str, Any] | None = None
    attempt: int = 0
    """Counts the times that the same is asked because an earlier answer was of no use."""

    def key(self, model: str, base_url: str) -> str:
        """The name of its answer in the cache: everything that the answer depends on."""
        parts: list[Any] = [base_url, model, self.messages, self.tools, self.sampling]
        if self.schema or self.attempt:
            parts += [self.schema, self.attempt]
        return key_of(*parts)


@dataclass
class Outcome:
    """What became of the questions. `over` is why the asking ended before its end."""

    answered: int = 0
    refused: int = 0
    failed: int = 0
    first_failure: str = ""
    over: LuthierError | None = None
    at_ceiling: bool = False
    spent: Tokens = field(default_factory=Tokens)


class Asker:
    """Asks for one job. `stopping` ends it with care: answers on their way are waited for.

    `spent` is what the job has spent before; `marks` are fields that its entries in the cache
    have.
    """

    def __init__(
        self,
        terms: Terms,
        endpoint: Endpoint,
        journal: Journal,
        stopping: Callable[[], bool],
        on_outcome: Callable[[Outcome], None],
        spent: Tokens = NOTHING,
        marks: dict[str, Any] | None = None,
    ) -> None:
        self._terms, self._endpoint, self._journal = terms, endpoint, journal
        self._stopping, self._on_outcome = stopping, on_outcome
        self._budget, self._marks = Budget(terms.ceiling, spent), marks or {}
        self._at_once = asyncio.Semaphore(terms.at_once)
        self.outcome = Outcome(spent=spent)
        self._flushing = asyncio.Lock()
        self._next_flush: asyncio.Task[None] | None = None
        self._in_a_row = 0
        self._is_reached = False
        self._not_before = self._next_turn = 0.0
        self._length_name = "max_tokens"
        self._has_schemas = True

    @property
    def is_over(self) -> bool:
        """Whether nothing more will be asked."""
        return self.outcome.over is not None or self.outcome.at_ceiling or self._stopping()

    def cached(self, request: Request) -> Entry | None:
        """The answer that the cache has."""
        entry = self._journal.found.get(self._key(request))
        return entry if is_answer(entry) else None

    async def answer(self, request: Request) -> Entry | None:
        """Ask until there is an answer, or no hope of one: None, and the outcome says why."""
        async with self._at_once:
            entry = self.cached(request)
            if entry is None:
                await self._ask(request)
                entry = self.cached(request)
            self.outcome.answered += entry is not None
        self.outcome.spent = self._budget.spent
        self._on_outcome(self.outcome)
        return entry

    def _key(self, request: Request) -> str:
        return request.key(self._terms.model, self._endpoint.base_url)

    async def _ask(self, request: Request) -> None:
        for attempt in range(self._terms.tries):
            await self._pause()
            if self.is_over:
                return
            try:
                if not await self._attempt(request):
                    self.outcome.at_ceiling = True
                self._is_reached = True
                return
            except LuthierError as error:
                self._is_reached |= not isinstance(error, Unreachable)
                never_answers = not self._is_reached and attempt + 1 >= _TRIES_TO_REACH
                if _is_final(error) or never_answers:
                    self.outcome.over = self.outcome.over or error
                    return
                if not _passes(error):
                    self._count_failure(error, refused=True)
                    return
                if attempt + 1 == self._terms.tries:
                    self._count_failure(error, refused=False)
                    return
                await self._wait_after(error, attempt)

    async def _attempt(self, request: Request) -> bool:
        """Ask once, and keep the answer. False if the ceiling does not allow it. LuthierError if
        there is no answer."""
        key, length = self._key(request), request.sampling["max_tokens"]
        most = most_tokens(request.messages, request.tools, length)
        if not await self._budget.reserve(most):
            return False
        before = _lost(self._journal.found.get(key))
        await self._keep(key, error="no answer yet", lost=before.plus(most))
        lost = most
        try:
            message, used, origin = await self._post(request)
            used = used or most
            await self._keep(
                key, error=None, message=message, used=used, lost=before, t=time.time(), **origin
            )
            lost = used
            self._in_a_row = 0
        except Refused as error:  # nothing was generated
            lost = Tokens()
            await self._keep(key, error=f"{error.title}: {error.message}", lost=before)
            raise
        except LuthierError as error:
            await self._keep(key, error=f"{error.title}: {error.message}", lost=before.plus(most))
            raise
        finally:
            await self._budget.settle(most, lost)
        return True

    async def _keep(self, key: str, **fields: Any) -> None:
        """Write an entry into the cache, and return once it is on the disk. Entries that come while
        the disk is busy share its next write."""
        self._journal.write(key, **self._marks, **fields)
        if self._next_flush is None:
            self._next_flush = asyncio.create_task(self._flush())
        await self._next_flush

    async def _flush(self) -> None:
        async with self._flushing:
            self._next_flush = None
            await asyncio.to_thread(flush, self._journal.path)

    async def _post(self, request: Request) -> tuple[dict[str, Any], Tokens | None, Entry]:
        sampling = dict(request.sampling)
        length = sampling.pop("max_tokens")
        body = {
            "model": self._terms.model,
            "messages": request.messages,
            **({"tools": request.tools} if request.tools else {}),
            **sampling,
            self._length_name: length,
        }
        has_schema = request.schema is not None and self._has_schemas
        if has_schema:
            schema = {"name": "answer", "strict": True, "schema": request.schema}
            body["response_format"] = {"type": "json_schema", "json_schema": schema}
        path = f"{self._endpoint.prefix}/chat/completions"
        try:
            answer = await post(self._endpoint, path, body, self._terms.timeout)
        except Refused as error:
            # OpenAI's newer models refuse the older name
            if self._length_name == "max_tokens" and "max_completion_tokens" in error.message:
                self._length_name = "max_completion_tokens"
                return await self._post(request)
            if has_schema and any(word in error.message.lower() for word in _NO_SCHEMA):
                self._has_schemas = False
                return await self._post(request)
            raise
        return read_answer(answer)

    async def _pause(self) -> None:
        """Nobody is asked while the endpoint wants to be left alone, nor sooner than the rate
        allows."""
        if self._terms.per_minute:
            turn = max(self._next_turn, time.monotonic())
            self._next_turn = turn + 60 / self._terms.per_minute
            await self._sleep_until(lambda: turn)
        await self._sleep_until(lambda: self._not_before)

    async def _sleep_until(self, moment: Callable[[], float]) -> None:
        """As long as the moment, which may move, is not there, and the job is not over."""
        while (seconds := moment() - time.monotonic()) > 0 and not self.is_over:
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
        await self._sleep_until(lambda: until)

    def _count_failure(self, error: LuthierError, *, refused: bool) -> None:
        self.outcome.refused += refused
        self.outcome.failed += not refused
        self.outcome.first_failure = self.outcome.first_failure or f"{error.title}: {error.message}"
        if isinstance(error, Refused) and error.code in _FILTERED:
            return
        self._in_a_row += 1
        if self._in_a_row >= _MOST_IN_A_ROW:
            self.outcome.over = self.outcome.over or error


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
