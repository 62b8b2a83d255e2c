"""How models read one text: the base's own greedy answer, and of each of its tokens what each model
finds likely there."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import msgspec

from serve.client import Endpoint, post, tokenize
from serve.comparison.journal import Journal, key_of
from serve.drift.prompts import Prompt

AT_ONCE = 8
ANSWER_TOKENS = 48
TOP = 10  # tokens of a position whose probabilities are compared


class Text(msgspec.Struct, frozen=True):
    """A prompt's token ids, and those of the base's answer to it."""

    prompt: list[int]
    answer: list[int]


class Position(msgspec.Struct, frozen=True):
    """What a model thinks of a token of the answer: its text and log-probability, and the
    log-probabilities of the likeliest tokens there."""

    text: str
    log_probability: float
    top: dict[str, float]


Reading = list[Position]


@dataclass(frozen=True)
class Model:
    """`identity` says which weights the name stands for."""

    endpoint: Endpoint
    name: str
    identity: str


async def texts(
    base: Model, prompts: Sequence[Prompt], journal: Journal, on_answer: Callable[[], object]
) -> list[Text]:
    """The base's greedy answers. What the journal has is not asked again."""
    at_once = asyncio.Semaphore(AT_ONCE)

    async def answered(prompt: Prompt) -> Text:
        key = key_of("text", base.identity, prompt.messages, prompt.token_ids)
        if key not in journal.found:
            async with at_once:
                text = await _answer(base, prompt)
            journal.add(key, text=msgspec.to_builtins(text))
        on_answer()
        return msgspec.convert(journal.found[key]["text"], Text)

    return list(await asyncio.gather(*map(answered, prompts)))


async def _answer(base: Model, prompt: Prompt) -> Text:
    ids = list(prompt.token_ids)
    if not ids:
        conversation = {"model": base.name, "messages": list(prompt.messages)}
        ids = await tokenize(base.endpoint, {**conversation, "add_generation_prompt": True})
    body = {
        "model": base.name,
        "prompt": ids,
        "max_tokens": ANSWER_TOKENS,
        "temperature": 0,
        "return_token_ids": True,
    }
    answer = await post(base.endpoint, f"{base.endpoint.prefix}/completions", body)
    return Text(ids, [int(token) for token in answer["choices"][0].get("token_ids") or []])


async def readings(
    model: Model, all_texts: Sequence[Text], journal: Journal, on_answer: Callable[[], object]
) -> list[Reading]:
    """How a model reads each text, one after the other: vLLM does it best alone."""
    every = []
    for text in all_texts:
        key = key_of("reading", model.identity, text.prompt, text.answer)
        if key not in journal.found:
            reading = await _read(model, text) if text.answer else []
            journal.write(key, reading=msgspec.to_builtins(reading))
        on_answer()
        every.append(msgspec.convert(journal.found[key]["reading"], Reading))
    return every


async def _read(model: Model, text: Text) -> Reading:
    tokens = [*text.prompt, *text.answer]
    body = {
        "model": model.name,
        "prompt": tokens,
        "max_tokens": 1,
        "temperature": 0,
        "prompt_logprobs": TOP,
    }
    answer = await post(model.endpoint, f"{model.endpoint.prefix}/completions", body)
    entries = answer["choices"][0]["prompt_logprobs"]
    reading = []
    for spot in range(len(text.prompt), len(tokens)):
        entry = entries[spot]
        own = entry[str(tokens[spot])]
        top = {token: float(of["logprob"]) for token, of in entry.items()}
        reading.append(Position(str(own.get("decoded_token", "")), float(own["logprob"]), top))
    return reading


def divergence(base: Reading, tuned: Reading) -> float:
    """The mean Kullback-Leibler divergence of the tuned model from the base, in nats a token. From
    below: over the tokens that both have among their likeliest, and all others as one."""
    pairs = zip(base, tuned, strict=True)
    return sum(_divergence(of_base.top, of_tuned.top) for of_base, of_tuned in pairs) / max(
        1, len(base)
    )


def _divergence(base: dict[str, float], tuned: dict[str, float]) -> float:
    shared = base.keys() & tuned.keys()
    of_base = [math.exp(base[token]) for token in shared]
    of_tuned = [math.exp(tuned[token]) for token in shared]
    of_base.append(max(0.0, 1 - sum(of_base)))
    of_tuned.append(max(1e-9, 1 - sum(of_tuned)))
    terms = (
        here * math.log(here / there) for here, there in zip(of_base, of_tuned, strict=True) if here
    )
    return max(0.0, sum(terms))
