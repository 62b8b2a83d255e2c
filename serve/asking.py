"""Asking models for whole answers: one, or every prompt of every model, several at once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from jobs.luthier_error import LuthierError
from serve.client import ChatMessage, Delta, Endpoint, Finished, Sampling, stream_chat


@dataclass(frozen=True)
class Answer:
    """What one model said to one prompt. Either `finished` or `error` is set; `text` is as far as
    it came."""

    prompt: int
    model: str
    text: str
    finished: Finished | None
    error: LuthierError | None


async def ask_all(
    endpoint: Endpoint,
    models: list[str],
    prompts: list[list[ChatMessage]],
    sampling: Sampling,
    on_answer: Callable[[Answer], None] | None = None,
    at_once: int = 8,
) -> list[Answer]:
    """Ask each model each prompt. The answers come back by prompt, then by model; `on_answer` hears
    of each as it is complete. All prompts of a model are asked before those of the next: on a CPU,
    vLLM takes half as long again for a batch in which base and adapters are mixed.

    A question that fails is an answer with an error: the others go on.
    """
    places = asyncio.Semaphore(at_once)

    async def ask_one(index: int, model: str) -> Answer:
        async with places:
            answer = await _ask(endpoint, index, model, prompts[index], sampling)
        if on_answer is not None:
            on_answer(answer)
        return answer

    async with asyncio.TaskGroup() as group:
        tasks = {
            (index, model): group.create_task(ask_one(index, model))
            for model in models
            for index in range(len(prompts))
        }
    return [tasks[index, model].result() for index in range(len(prompts)) for model in models]


async def _ask(
    endpoint: Endpoint, index: int, model: str, messages: list[ChatMessage], sampling: Sampling
) -> Answer:
    text, finished, error = await whole_answer(endpoint, model, messages, sampling)
    return Answer(index, model, text, finished, error)


async def whole_answer(
    endpoint: Endpoint,
    model: str,
    messages: Sequence[ChatMessage],
    sampling: Sampling,
    response_format: dict[str, Any] | None = None,
) -> tuple[str, Finished | None, LuthierError | None]:
    """The text as far as it came, and how it ended: finished, or with an error."""
    text: list[str] = []
    finished: Finished | None = None
    try:
        async for piece in stream_chat(
            endpoint, model, list(messages), sampling, (), response_format
        ):
            match piece:
                case Delta():
                    text.append(piece.text)
                case Finished():
                    finished = piece
    except LuthierError as error:
        return "".join(text), None, error
    return "".join(text), finished, None
