"""A running server with its flags: what it makes of the prompts, its log-probabilities, how its
answers end."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from jobs.luthier_error import LuthierError
from jobs.near import did_you_mean
from models.certificate import Check
from serve.certificate import asking
from serve.certificate import checks as certificate_checks
from serve.certificate.measured import Broken, Reference, Rendered, Scored, Scores
from serve.certificate.turns import Sample
from serve.client import Endpoint, ModelCard, list_cards, post
from serve.endpoint_address import hosted_at, own_server_at
from serve.shipped.evidence import Evidence
from serve.shipped.measured import Said

if TYPE_CHECKING:
    from serve.shipped.worker import ShippedCertifier

_PURPOSE = "a server that gives prompt log-probabilities"


def evidence(certifier: ShippedCertifier, reference: Reference) -> Evidence:
    endpoint, cards = connect(certifier)
    card = _tuned(certifier, cards)
    base = _base(certifier, cards, card)
    checks = _prompt_checks(certifier, reference, endpoint, card.id)
    decode = _decoder(certifier)
    shipped = _scored(certifier, endpoint, card.id, reference.tuned, decode)
    twin = None if base is None else _scored(certifier, endpoint, base, reference.base, decode)
    checks += _endings(certifier, reference, endpoint, card, shipped)
    return Evidence(
        title=f"{card.id} of the server",
        checks=checks,
        shipped=shipped,
        twin=twin,
        calibration=f"The base model {base} of the same server." if base is not None else "",
        uncalibrated="the server does not offer the base model",
    )


def connect(certifier: ShippedCertifier) -> tuple[Endpoint, list[ModelCard]]:
    """The server and its models. LuthierError if it does not answer, or lacks the model."""
    endpoint = _endpoint(certifier)
    cards = certifier.wait_for(list_cards(endpoint))
    _tuned(certifier, cards)
    return endpoint, cards


def _endpoint(certifier: ShippedCertifier) -> Endpoint:
    settings = certifier.settings
    key_variables = [settings.key_env] if settings.key_env else []
    if not settings.key_env and not settings.key_file:
        running = own_server_at(settings.shipped)
        if running is not None:
            return running
    return hosted_at(settings.shipped, _PURPOSE, key_variables, settings.key_file).open()


def _tuned(certifier: ShippedCertifier, cards: list[ModelCard]) -> ModelCard:
    """The model to certify: the named one, the run's, or the only one."""
    by_name = {card.id: card for card in cards}
    wish = certifier.settings.served_model
    for name in [wish] if wish else [certifier.run.id, certifier.run.model_name()]:
        if name in by_name:
            return by_name[name]
    if not wish and len(cards) == 1:
        return cards[0]
    names = ", ".join(by_name)
    raise LuthierError(
        "Which model of the server?",
        f"{certifier.settings.shipped} offers {names or 'no model'}.",
        f"{did_you_mean(wish, by_name)}Add --model NAME.",
    )


def _base(certifier: ShippedCertifier, cards: list[ModelCard], tuned: ModelCard) -> str | None:
    names = [card.id for card in cards if card.id != tuned.id]
    candidates = (tuned.parent, "base", certifier.run.base_name)
    return next((name for name in candidates if name in names), None)


def _prompt_checks(
    certifier: ShippedCertifier, reference: Reference, endpoint: Endpoint, model: str
) -> list[Check]:
    certifier.phase("asking the server for prompts", 60.0)
    rendered: Rendered = certifier.wait_for(
        asking.rendered(endpoint, model, certifier.samples, certifier.probes)
    )
    if rendered.prompts and all(isinstance(prompt, str) for prompt in rendered.prompts):
        return [
            Check(
                "token ids",
                "amber",
                "The server does not say which token ids it makes of a conversation"
                f" ({rendered.prompts[0]}), so its template and its tokenizer were not compared.",
            )
        ]
    judged = [
        certificate_checks.token_ids(certifier.samples, reference, rendered),
        certificate_checks.probes(certifier.probes, reference, rendered),
    ]
    return [check for check in judged if check is not None]


def _scored(
    certifier: ShippedCertifier,
    endpoint: Endpoint,
    model: str,
    expected: Scored | None,
    decode: Callable[[int], str],
) -> Said:
    certifier.phase(f"asking the server for {model}", 60.0)
    began = time.monotonic()
    scores: Scored = certifier.wait_for(
        asking.scores(endpoint, model, certifier.samples, lambda: None)
    )
    if isinstance(scores, Broken) and isinstance(expected, Scores):
        scores = certifier.wait_for(
            _echoed(endpoint, model, certifier.samples, expected, decode, scores.reason)
        )
    return Said(scores, "the server", time.monotonic() - began)


async def _echoed(
    endpoint: Endpoint,
    model: str,
    samples: list[Sample],
    expected: Scores,
    decode: Callable[[int], str],
    refusal: str,
) -> Scored:
    """The same by way of the older `echo` with `logprobs`. It names tokens by their texts: a first
    choice is the expected one where its text is that one's."""
    values: list[float] = []
    first: list[int] = []
    try:
        for sample in samples:
            body = {
                "model": model,
                "prompt": sample.input_ids,
                "max_tokens": 1,
                "temperature": 0,
                "echo": True,
                "logprobs": 1,
            }
            answer = await post(endpoint, "/v1/completions", body)
            logged: dict[str, Any] = answer["choices"][0]["logprobs"]
            for position in sample.scored:
                values.append(float(logged["token_logprobs"][position]))
                choices = logged["top_logprobs"][position]
                likeliest = max(choices, key=lambda text: choices[text])
                wish = expected.first[len(first)]
                first.append(wish if likeliest == decode(wish) else -1)
    except (LuthierError, KeyError, TypeError, IndexError, ValueError) as error:
        why = error.message if isinstance(error, LuthierError) else "its answer has no logprobs"
        return Broken(
            f"it gives no log-probabilities of prompts, neither as prompt_logprobs ({refusal}) nor"
            f" by echo ({why})"
        )
    return Scores(values, first)


def _decoder(certifier: ShippedCertifier) -> Callable[[int], str]:
    from tokenizers import Tokenizer

    reader = Tokenizer.from_file(str(certifier.tokenizer_folder / "tokenizer.json"))
    return lambda token: str(reader.decode([token], skip_special_tokens=False))


def _endings(
    certifier: ShippedCertifier,
    reference: Reference,
    endpoint: Endpoint,
    card: ModelCard,
    shipped: Said,
) -> list[Check]:
    """How whole answers end. A server that does not return token ids still says why it stopped."""
    if not isinstance(shipped.scores, Scores):
        return []
    certifier.phase("asking the server for answers", 40.0)
    length = card.context_length or certifier.run_context
    answers = certifier.wait_for(
        asking.answers(endpoint, card.id, certifier.samples, length, lambda: None)
    )
    learnt = certificate_checks.learnt_to_stop(certifier.samples, reference)
    return certificate_checks.stopping("shipped", answers, [], learnt)
