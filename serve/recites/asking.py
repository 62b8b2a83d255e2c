"""How far a model goes on with a passage as the data does, greedily, through the endpoint."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from serve.client import Endpoint, post
from serve.comparison.journal import Journal, key_of
from serve.recites.passages import Passage

AT_ONCE = 8
_FIRST_LOOK = 8  # tokens: nearly every model that does not know a passage has left it by then


async def continue_all(
    endpoint: Endpoint,
    model: str,
    identity: str,
    passages: Sequence[Passage],
    journal: Journal,
    on_answer: Callable[[], object],
) -> list[int]:
    """For each passage, how many tokens come back word for word. What the journal has is not asked
    again; `identity` says which weights `model` stands for."""
    at_once = asyncio.Semaphore(AT_ONCE)

    async def matched(passage: Passage) -> int:
        key = key_of("recites", identity, passage.beginning, passage.expected)
        if key not in journal.found:
            async with at_once:
                tokens = await matching_tokens(endpoint, model, passage)
            journal.add(key, matched=tokens)
        on_answer()
        return int(journal.found[key]["matched"])

    return list(await asyncio.gather(*map(matched, passages)))


async def matching_tokens(endpoint: Endpoint, model: str, passage: Passage) -> int:
    """The length of the longest common beginning of what the model says and what the data has."""
    expected = passage.expected
    matching = await _matching(endpoint, model, passage.beginning, expected[:_FIRST_LOOK])
    if matching < _FIRST_LOOK:
        return matching
    beginning = (*passage.beginning, *expected[:_FIRST_LOOK])
    return matching + await _matching(endpoint, model, beginning, expected[_FIRST_LOOK:])


async def _matching(
    endpoint: Endpoint, model: str, beginning: Sequence[int], expected: Sequence[int]
) -> int:
    body = {
        "model": model,
        "prompt": list(beginning),
        "max_tokens": len(expected),
        "temperature": 0,
        "return_token_ids": True,
    }
    answer = await post(endpoint, f"{endpoint.prefix}/completions", body)
    return common_beginning(answer["choices"][0].get("token_ids") or [], expected)


def common_beginning(tokens: Sequence[int], expected: Sequence[int]) -> int:
    pairs = zip(tokens, expected, strict=False)
    return next(
        (index for index, (token, due) in enumerate(pairs) if token != due),
        min(len(tokens), len(expected)),
    )
