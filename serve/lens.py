"""The lens: how much likelier each token of an answer is to one model than to another, after the
same conversation.

Both models read the prompt and the answer (teacher forcing); vLLM tells the log-probability that
each gives to every token. Nothing is generated. It takes two models of one vLLM server, which share
their tokenizer; other servers do not tell these figures.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from jobs.luthier_error import LuthierError
from serve.client import ChatMessage, Endpoint, prompt_log_probabilities, tokenize


@dataclass(frozen=True)
class Shift:
    """A piece of the answer, one token or several that only together are text. `difference` is the
    tuned model's log-probability less the base model's, in nats: 0.69 is twice as likely."""

    text: str
    difference: float


async def shifts(
    endpoint: Endpoint, base: str, tuned: str, context: list[ChatMessage], answer: str
) -> list[Shift]:
    """The pieces of `answer`, which together are all of it. LuthierError if the server cannot
    tell."""
    if not answer:
        return []
    of_base, of_tuned = await answer_log_probabilities(
        endpoint, base, (base, tuned), context, answer
    )
    texts = [text for text, _ in of_base]
    differences = [there - here for (_, here), (_, there) in zip(of_base, of_tuned, strict=True)]
    return aligned(answer, texts, differences)


async def answer_log_probabilities(
    endpoint: Endpoint, base: str, models: Sequence[str], context: list[ChatMessage], answer: str
) -> list[list[tuple[str, float]]]:
    """Of each model, the answer's tokens with the log-probability that it gives to each. They share
    the base's tokenizer. LuthierError if the server cannot tell."""
    asked = await tokenize(
        endpoint, {"model": base, "messages": context, "add_generation_prompt": True}
    )
    answer_tokens = await tokenize(
        endpoint, {"model": base, "prompt": answer, "add_special_tokens": False}
    )
    # vLLM does it best alone
    probabilities = [
        await prompt_log_probabilities(endpoint, model, [*asked, *answer_tokens])
        for model in models
    ]
    of_answer = [
        [entry for entry in entries[len(asked) :] if entry is not None] for entries in probabilities
    ]
    if any(len(entries) != len(answer_tokens) for entries in of_answer):
        raise LuthierError(
            "The lens does not work here",
            "This server does not report the probabilities of a prompt.",
            "Luthier's own servers do.",
        )
    return of_answer


_LONGEST_GAP = 8  # characters that a token which is no text by itself can stand for, at most


def aligned(answer: str, tokens: list[str], differences: list[float]) -> list[Shift]:
    """Lay the tokens over the answer. Tokens that are only parts of a character share a piece and
    the sum of their differences."""
    pieces: list[Shift] = []
    reached, waiting, skipped = 0, 0.0, 0
    for token, difference in zip(tokens, differences, strict=True):
        reach = reached + len(token) + _LONGEST_GAP * (skipped + 1)
        start = answer.find(token, reached, reach) if token and "\ufffd" not in token else -1
        if start < 0:
            waiting, skipped = waiting + difference, skipped + 1
            continue
        if skipped and start > reached:
            pieces.append(Shift(answer[reached:start], waiting))
            reached, waiting = start, 0.0
        end = start + len(token)
        pieces.append(Shift(answer[reached:end], waiting + difference))
        reached, waiting, skipped = end, 0.0, 0
    if reached < len(answer):
        pieces.append(Shift(answer[reached:], waiting))
    return pieces
