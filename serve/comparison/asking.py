"""Every question to every model, several at once; what a journal has already is not asked again."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from serve.asking import whole_answer
from serve.client import ChatMessage, Endpoint, Sampling
from serve.comparison.items import Item
from serve.comparison.journal import Entry, Journal, key_of


@dataclass(frozen=True)
class Contender:
    """A model that is compared: its name on the server, and what tells its content from another's
    of that name."""

    name: str
    identity: str
    adapter: Path | None = None
    """The folder of its adapter; None for the base."""


def missing(
    items: Sequence[Item], models: Sequence[Contender], sampling: Sampling, journal: Journal
) -> list[tuple[Item, Contender]]:
    """The questions that have no answer yet, all of a model before those of the next: on a CPU,
    vLLM takes half as long again for a batch in which base and adapters are mixed. One that failed
    is asked again."""
    return [
        (item, model)
        for model in models
        for item in items
        if journal.found.get(answer_key(item, model, sampling), {"error": ""}).get("error")
        is not None
    ]


def answer_key(item: Item, model: Contender, sampling: Sampling) -> str:
    return key_of(item.messages, model.name, model.identity, asdict(sampling))


async def ask(
    endpoint: Endpoint,
    questions: Sequence[tuple[Item, Contender]],
    sampling: Sampling,
    journal: Journal,
    on_answer: Callable[[Entry], None],
    at_once: int,
) -> None:
    """Ask, and write each answer down as it is complete. A question that fails is written down with
    its error; the others go on."""
    places = asyncio.Semaphore(at_once)

    async def ask_one(item: Item, model: Contender) -> None:
        async with places:
            answer = await answer_entry(endpoint, model.name, item.messages, sampling)
        on_answer(journal.add(answer_key(item, model, sampling), model=model.name, **answer))

    async with asyncio.TaskGroup() as group:
        for item, model in questions:
            group.create_task(ask_one(item, model))


async def answer_entry(
    endpoint: Endpoint,
    model: str,
    messages: Sequence[ChatMessage],
    sampling: Sampling,
    response_format: dict[str, Any] | None = None,
) -> Entry:
    """The answer as a journal has it: `text` as far as it came; `error` is None if it came to its
    end."""
    text, finished, error = await whole_answer(endpoint, model, messages, sampling, response_format)
    if finished is None:
        return {"text": text, "error": f"{error.title}: {error.message}" if error else None}
    return {
        "text": text,
        "error": None,
        "reason": finished.reason,
        "tokens": finished.completion_tokens,
        "first_token": finished.time_to_first_token,
        "seconds": finished.seconds,
    }
