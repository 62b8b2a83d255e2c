"""Every probe to both models, several at once; what a journal has already is not asked again."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from jobs.luthier_error import LuthierError
from serve.client import Endpoint, Sampling, prompt_log_probabilities, tokenize
from serve.comparison.asking import Contender, answer_entry, answer_key
from serve.comparison.items import Item as Question
from serve.comparison.journal import Entry, Journal, key_of
from workshop.regression.probes import Passage, Probe

AT_ONCE = 16
_SEED = 0
_TEMPLATE_PROBE = [
    {"role": "system", "content": "You are helpful."},
    {"role": "user", "content": "Hello"},
    {"role": "assistant", "content": "Hi."},
    {"role": "user", "content": "Who are you?"},
]


@dataclass(frozen=True)
class Asked:
    """A probe or a passage for one model."""

    model: Contender
    about: Probe | Passage

    @property
    def key(self) -> str:
        """The name of its entry in the journal: everything that the answer depends on."""
        if isinstance(self.about, Passage):
            return key_of("text", self.model.name, self.model.identity, self.about.text)
        return answer_key(self.question, self.model, self.sampling)

    @property
    def question(self) -> Question:
        assert isinstance(self.about, Probe)
        return Question(tuple(self.about.messages), None)

    @property
    def sampling(self) -> Sampling:
        """The most probable token each time: both models are asked alike, and asked again they
        answer the same."""
        assert isinstance(self.about, Probe)
        return Sampling(0.0, 1.0, self.about.max_tokens, _SEED)


def missing(asked: Sequence[Asked], journal: Journal) -> list[Asked]:
    """Those that have no answer yet. One that failed is asked again."""
    unanswered = [
        each
        for each in asked
        if journal.found.get(each.key, {"error": ""}).get("error") is not None
    ]
    return list({each.key: each for each in unanswered}.values())


async def ask(
    endpoint: Endpoint,
    asked: Sequence[Asked],
    journal: Journal,
    on_entry: Callable[[Entry], None],
) -> None:
    """Write each answer down as it is complete. What fails is written down with its error; the
    others go on. Losses are asked one after the other, once the answers are there: vLLM on a CPU
    dies of two prompts' log-probabilities at once."""
    places = asyncio.Semaphore(AT_ONCE)

    async def answer(each: Asked) -> None:
        async with places:
            entry = await answer_entry(
                endpoint, each.model.name, each.question.messages, each.sampling
            )
        on_entry(journal.add(each.key, model=each.model.name, **entry))

    async with asyncio.TaskGroup() as group:
        for each in asked:
            if isinstance(each.about, Probe):
                group.create_task(answer(each))
    for each in asked:
        if isinstance(each.about, Passage):
            entry = await _loss(endpoint, each.model.name, each.about)
            on_entry(journal.add(each.key, model=each.model.name, **entry))


async def _loss(endpoint: Endpoint, model: str, passage: Passage) -> Entry:
    try:
        token_ids = await tokenize(endpoint, {"model": model, "prompt": passage.text})
        scored = await prompt_log_probabilities(endpoint, model, token_ids)
    except LuthierError as error:
        return {"error": f"{error.title}: {error.message}"}
    losses = [-entry[1] for entry in scored if entry is not None]
    if not losses:
        return {"error": "The passage is a single token."}
    return {"error": None, "loss": sum(losses) / len(losses), "tokens": len(losses)}


async def rendered_prompt(endpoint: Endpoint, model: str) -> list[int]:
    """The token ids of a short conversation, as the server's chat template writes it; without its
    system prompt where the template takes none."""
    request = {"model": model, "messages": _TEMPLATE_PROBE, "add_generation_prompt": True}
    try:
        return await tokenize(endpoint, request)
    except LuthierError:
        return await tokenize(endpoint, {**request, "messages": _TEMPLATE_PROBE[1:]})
