"""Every prompt to every model, several at once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from jobs.errors import LuthierError
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
    of each as it is complete.

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
        tasks = [
            group.create_task(ask_one(index, model))
            for index in range(len(prompts))
            for model in models
        ]
    return [task.result() for task in tasks]


async def _ask(
    endpoint: Endpoint, index: int, model: str, messages: list[ChatMessage], sampling: Sampling
) -> Answer:
    text: list[str] = []
    finished: Finished | None = None
    try:
        async for piece in stream_chat(endpoint, model, messages, sampling):
            match piece:
                case Delta():
                    text.append(piece.text)
                case Finished():
                    finished = piece
    except LuthierError as error:
        return Answer(index, model, "".join(text), None, error)
    return Answer(index, model, "".join(text), finished, None)
