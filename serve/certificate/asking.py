"""What a vLLM server says of the held-out turns, over HTTP: the token ids of prompts,
teacher-forced log-probabilities, whole answers."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, TypeVar

from jobs.luthier_error import LuthierError
from serve.certificate.measured import Answer, Broken, Rendered, Scored, Scores
from serve.certificate.turns import Probe, Sample, Turn
from serve.client import Endpoint, post

# answers and prompts; scores are asked one by one: vLLM 0.32 on a CPU with LoRA dies of two
# prompts' log-probabilities at once
AT_ONCE = 8
MOST_ANSWERS = 12
LONGEST_REFERENCE = 160  # tokens: turns that are longer are not generated
_SPARE = 16
ROOM = 2 * LONGEST_REFERENCE + _SPARE  # tokens that the longest answer may take

_ANY_ID = "call00000"

_Result = TypeVar("_Result")


async def _all(
    work: Sequence[Callable[[], Coroutine[Any, Any, _Result]]], at_once: int = AT_ONCE
) -> list[_Result]:
    places = asyncio.Semaphore(at_once)

    async def run_bounded(start: Callable[[], Coroutine[Any, Any, _Result]]) -> _Result:
        async with places:
            return await start()

    return list(await asyncio.gather(*(run_bounded(start) for start in work)))


async def rendered(
    endpoint: Endpoint, model: str, samples: Sequence[Sample], probes: Sequence[Probe]
) -> Rendered:
    """The server's token ids for each turn's prompt and for the probes; its refusal where it
    answers with an error."""
    turns = [
        (sample.messages[: turn.message], sample.tools)
        for sample in samples
        for turn in sample.turns
    ]
    asked = [*turns, *((probe.messages, probe.tools) for probe in probes)]

    def start(
        messages: list[dict[str, Any]], tools: list[dict[str, Any]] | None
    ) -> Callable[[], Coroutine[Any, Any, list[int] | str]]:
        return lambda: _prompt(endpoint, model, messages, tools)

    ids = await _all([start(messages, tools) for messages, tools in asked])
    return Rendered(ids[: len(turns)], ids[len(turns) :])


async def _prompt(
    endpoint: Endpoint,
    model: str,
    messages: list[dict[str, Any]],
    tools: list[dict[str, Any]] | None,
) -> list[int] | str:
    body = {
        "model": model,
        "messages": [_as_sent(message) for message in messages],
        "add_generation_prompt": True,
    }
    try:
        answer = await post(endpoint, "/tokenize", {**body, "tools": tools} if tools else body)
    except LuthierError as error:
        return error.message
    return [int(token) for token in answer["tokens"]]


def _as_sent(message: dict[str, Any]) -> dict[str, Any]:
    """A message as a client of the API sends it: no weight, the arguments of calls as text."""
    sent = {key: value for key, value in message.items() if key != "weight"}
    if sent.get("tool_calls"):
        sent["tool_calls"] = [_call_as_sent(call) for call in sent["tool_calls"]]
    return sent


def _call_as_sent(call: dict[str, Any]) -> dict[str, Any]:
    function = call["function"]
    arguments = function.get("arguments") or {}
    text = arguments if isinstance(arguments, str) else json.dumps(arguments, ensure_ascii=False)
    # the API demands an id, and data may have none
    return {
        "id": _ANY_ID,
        "type": "function",
        **call,
        "function": {**function, "arguments": text},
    }


async def scores(
    endpoint: Endpoint, model: str, samples: Sequence[Sample], on_sample: Callable[[], None]
) -> Scored:
    """Teacher-forced log-probabilities: vLLM is given the very token ids of training."""

    def start(sample: Sample) -> Callable[[], Coroutine[Any, Any, tuple[list[float], list[int]]]]:
        async def score() -> tuple[list[float], list[int]]:
            sample_scores = await _score(endpoint, model, sample)
            on_sample()
            return sample_scores

        return score

    try:
        all_scores = await _all([start(sample) for sample in samples], at_once=1)
    except LuthierError as error:
        return Broken(error.message)
    return Scores(
        [value for values, _ in all_scores for value in values],
        [token for _, tokens in all_scores for token in tokens],
    )


async def _score(endpoint: Endpoint, model: str, sample: Sample) -> tuple[list[float], list[int]]:
    body = {
        "model": model,
        "prompt": sample.input_ids,
        "max_tokens": 1,
        "temperature": 0,
        "prompt_logprobs": 1,
    }
    answer = await post(endpoint, "/v1/completions", body)
    prompt_entries = answer["choices"][0]["prompt_logprobs"]
    values, first = [], []
    for position in sample.scored:
        entries = prompt_entries[position]
        values.append(float(entries[str(sample.input_ids[position])]["logprob"]))
        first.append(next(int(token) for token, entry in entries.items() if entry["rank"] == 1))
    return values, first


def generated(samples: Sequence[Sample]) -> list[tuple[Sample, Turn]]:
    """The turns whose answers are generated: the first few that are short enough to be waited
    for."""
    turns = [
        (sample, turn)
        for sample in samples
        for turn in sample.turns
        if turn.end - turn.start <= LONGEST_REFERENCE
    ]
    return turns[:MOST_ANSWERS]


async def answers(
    endpoint: Endpoint,
    model: str,
    samples: Sequence[Sample],
    context_length: int,
    on_answer: Callable[[], None],
) -> list[Answer]:
    """Greedy answers to the trainer's own prompts, each with room for twice its reference, as far
    as the server's context reaches."""

    def start(sample: Sample, turn: Turn) -> Callable[[], Coroutine[Any, Any, Answer]]:
        async def answer() -> Answer:
            generated_answer = await _answer(
                endpoint, model, sample, turn, context_length - turn.start
            )
            on_answer()
            return generated_answer

        return answer

    return await _all([start(sample, turn) for sample, turn in generated(samples)])


async def _answer(endpoint: Endpoint, model: str, sample: Sample, turn: Turn, most: int) -> Answer:
    room = min(most, 2 * (turn.end - turn.start) + _SPARE)
    body = {
        "model": model,
        "prompt": sample.input_ids[: turn.start],
        "max_tokens": room,
        "temperature": 0,
        "return_token_ids": True,
    }
    choice = (await post(endpoint, "/v1/completions", body))["choices"][0]
    tokens: list[int] = choice.get("token_ids") or []
    stopped = choice["finish_reason"] == "stop"
    stop = sample.input_ids[turn.end - 1]
    passed = stop in (tokens[:-1] if stopped else tokens)
    return Answer(stopped, len(tokens), stop if passed else None)
