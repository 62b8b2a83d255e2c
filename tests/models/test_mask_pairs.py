"""Pairs of answers over every chat template: nothing is scored but the answers that differ, by the
definition through transformers' own calls."""

from __future__ import annotations

from typing import Any

import pytest

from models.conversations import Conversation
from models.mask import MaskError, MaskOptions
from models.samples import Sample, Sampler
from models.stored_sample import UNTRAINED
from tests.models.corpus import templates, tokenizer_for
from tests.models.test_mask_evidence import report_for, wrong_tokens
from trainer.data.preferences import Judged, judged
from trainer.data.scoring import PairScorer, Scored, Unscored

pytestmark = [pytest.mark.heavy, pytest.mark.xdist_group("transformers")]

_PROMPT = [
    {"role": "user", "content": "What is a verb?"},
    {"role": "assistant", "content": "A word that says what happens."},
    {"role": "user", "content": "And a noun?"},
]
_BETTER = [{"role": "assistant", "content": "A name."}]
_SIDES: dict[str, tuple[list[dict[str, Any]], list[dict[str, Any]]]] = {
    "one turn": (_BETTER, [{"role": "assistant", "content": "I would rather not say, if I may."}]),
    "they begin alike": (_BETTER, [{"role": "assistant", "content": "A name, or a thing."}]),
    "several turns": (
        [
            *_BETTER,
            {"role": "user", "content": "Thanks."},
            {"role": "assistant", "content": "Yes."},
        ],
        [
            {"role": "assistant", "content": "No."},
            {"role": "user", "content": "Why?"},
            {"role": "assistant", "content": "So."},
        ],
    ),
}


def scored(name: str, preference: Judged) -> Scored | Unscored | MaskError:
    sampler = Sampler(tokenizer_for(name), report_for(name), MaskOptions())

    def made(conversations: Any) -> list[list[Sample] | MaskError]:
        answers: list[list[Sample] | MaskError] = []
        for conversation in conversations:
            samples = list(sampler.samples([conversation]))
            error = next((each for each in samples if isinstance(each, MaskError)), None)
            answers.append(error or [each for each in samples if isinstance(each, Sample)])
        return answers

    return next(iter(PairScorer(made, 4096).scored([preference])))


@pytest.mark.parametrize("shape", _SIDES)
def test_only_the_answers_that_differ_are_scored(shape: str) -> None:
    better, worse = _SIDES[shape]
    kept = 0
    for name in templates():
        conversation = Conversation([*_PROMPT, *better], "pairs.jsonl", 0)
        preference = judged(conversation, [*_PROMPT, *worse], is_good=True)
        assert preference.first == len(_PROMPT)
        result = scored(name, preference)
        if not isinstance(result, Scored):
            assert shape == "several turns" or isinstance(result, MaskError), (name, result)
            continue
        kept += 1
        messages = (preference.messages, preference.rejected)
        for sample, side in zip(result.samples, messages, strict=True):
            assert side is not None
            assert wrong_tokens(name, "bytes", side, None, [sample]) == [], name
            assert sample.labels[-1] != UNTRAINED
        first, other = (
            next(index for index, label in enumerate(sample.labels) if label != UNTRAINED)
            for sample in result.samples
        )
        assert result.samples[0].input_ids[:first] == result.samples[1].input_ids[:other]
    assert kept > 0.9 * len(templates()) or shape == "several turns"
    assert kept
