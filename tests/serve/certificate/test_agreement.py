"""The bounds, held against figures that were really measured.

`captain.json` has 400 tokens of the captain's run in transformers and in vLLM on two CPU cores: its
adapter as it is, merged, and broken in several ways (docs/certificate.md says how).
"""

from __future__ import annotations

import json
import math
import random
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from models.certificate import Check, worst
from serve.certificate import agreement
from serve.certificate.agreement import Difference, Noise, difference
from serve.certificate.measured import Broken, Scores

_RECORDED = json.loads(Path(__file__).with_name("captain.json").read_text())


def scores(name: str) -> Scores:
    return msgspec.convert({"type": "scores", **_RECORDED[name]}, type=Scores)


@pytest.fixture
def unit() -> Noise:
    tuned = msgspec.structs.replace(scores("transformers tuned"), epsilon=2**-7)
    return agreement.noise_of(scores("transformers base"), scores("vLLM base"), tuned)


def compared(name: str, unit: Noise) -> list[Check]:
    return agreement.agreement(
        "vLLM + adapter", "vLLM with the adapter", scores("transformers tuned"), scores(name), unit
    )


@pytest.mark.parametrize("name", ["vLLM captain", "vLLM merged", "transformers merged"])
def test_the_same_model_elsewhere_is_green(name: str, unit: Noise) -> None:
    assert [check.verdict for check in compared(name, unit)] == ["green"] * 3


@pytest.mark.parametrize(
    "name",
    ["vLLM zero", "vLLM base", "vLLM alpha200", "vLLM alpha125", "vLLM downless", "vLLM qkless"],
    ids=[
        "zeroed",
        "ignored",
        "twice too strong",
        "a quarter too strong",
        "no down_proj",
        "no q_proj and k_proj",
    ],
)
def test_a_broken_adapter_is_red(name: str, unit: Noise) -> None:
    found = compared(name, unit)
    assert worst(check.verdict for check in found) == "red"
    assert any("times the bound from base against base" in check.sentence for check in found)


def test_one_missing_layer_of_thirty_is_not_green(unit: Noise) -> None:
    assert worst(check.verdict for check in compared("vLLM layer29", unit)) == "amber"


def test_base_against_base_must_be_sound_itself() -> None:
    base = scores("transformers base")
    assert (
        agreement.calibration(difference(base, scores("vLLM base")), base.resolution or 0).verdict
        == "green"
    )
    check = agreement.calibration(difference(base, scores("vLLM captain")), base.resolution or 0)
    assert check.verdict == "red" and "does not compute this model" in check.sentence


def test_effect_of_an_adapter(unit: Noise) -> None:
    base, tuned = scores("transformers base"), scores("transformers tuned")
    assert agreement.effect("transformers", base, tuned, unit, None).verdict == "green"
    served = scores("vLLM base")
    ignored = agreement.effect("vLLM", served, served, unit, elsewhere=1.3)
    assert ignored.verdict == "red" and "ignores the adapter" in ignored.sentence
    zeroed = agreement.effect("transformers", base, base, unit, None)
    assert zeroed.verdict == "red" and "weights are zero" in zeroed.sentence
    little = msgspec.structs.replace(
        base, log_probabilities=[value + 0.01 for value in base.log_probabilities]
    )
    assert agreement.effect("transformers", base, little, unit, None).verdict == "amber"
    refused = agreement.effect("vLLM", served, Broken("rank too high"), unit, 1.3)
    assert refused.verdict == "red" and "rank too high" in refused.sentence


def test_a_model_that_cannot_be_run_and_one_that_says_nan_are_red(unit: Noise) -> None:
    tuned = scores("transformers tuned")
    (check,) = agreement.agreement(
        "merged, vLLM", "the merged model in vLLM", tuned, Broken("no lm_head.weight"), unit
    )
    assert check.verdict == "red" and "no lm_head.weight" in check.sentence
    nan = msgspec.structs.replace(
        tuned, log_probabilities=[math.nan] * len(tuned.log_probabilities)
    )
    assert (
        worst(check.verdict for check in agreement.agreement("x", "x", tuned, nan, unit)) == "red"
    )


def test_the_unit_grows_with_the_logits_and_never_vanishes() -> None:
    base = difference(scores("transformers base"), scores("vLLM base"))
    assert agreement.noise(base, 0.125, 0.5).spread == pytest.approx(4 * base.spread)
    assert agreement.noise(base, 0.125, 0.0625).spread == pytest.approx(base.spread)
    lucky = agreement.noise(
        replace(base, nll=0.0, spread=0.0, error=0.0, disagreed=0.0), 0.125, 0.125
    )
    assert lucky.spread > 0 and lucky.disagreed > 0


def test_what_an_adapter_of_one_rank_adds_is_rounded_too() -> None:
    """A tiny model that vLLM serves as it should: rank 1, moved by 6.9 nats a token."""
    base = Difference(nll=0.0003, spread=0.0161, error=0.0014, disagreed=0.0, tokens=214)
    effect = Difference(nll=-6.4597, spread=6.9132, error=0.2, disagreed=0.9, tokens=214)
    unit = agreement.noise(base, 0.0625, 0.0625, effect, epsilon=2**-7)
    assert agreement.GREEN_FACTOR * unit.spread > 0.0457
    assert agreement.GREEN_FACTOR * unit.nll > 0.0269
    assert effect.spread > 50 * unit.spread


def test_an_ordinary_adapter_has_the_noise_of_its_base() -> None:
    base, tuned = scores("transformers base"), scores("transformers tuned")
    noise = difference(base, scores("vLLM base"))
    alone = agreement.noise(noise, 0.125, 0.125)
    unit = agreement.noise(noise, 0.125, 0.125, difference(base, tuned), epsilon=2**-7)
    assert alone.spread <= unit.spread < 1.05 * alone.spread
    assert alone.nll <= unit.nll < 1.25 * alone.nll


def test_difference_by_hand() -> None:
    one, other = (
        Scores([-1.0, -2.0, -3.0, -4.0], [1, 2, 3, 4]),
        Scores([-1.5, -2.0, -2.5, -5.0], [1, 2, 9, 9]),
    )
    found = difference(one, other)
    assert (found.nll, found.spread, found.disagreed, found.tokens) == (0.25, 0.5, 0.5, 4)
    assert found.error == pytest.approx(math.sqrt((0.25**2 + 0.25**2 + 0.75**2 + 0.75**2) / 4) / 2)


def test_few_tokens_are_said_to_be_few() -> None:
    assert [agreement.amount(tokens).verdict for tokens in (199, 200)] == ["amber", "green"]


def test_pure_noise_of_the_calibration_s_size_is_not_called_a_fault() -> None:
    """A hundred simulated pairs that differ by what the base differs by, of the size of a small
    run."""
    base, served = scores("transformers base"), scores("vLLM base")
    measured = difference(base, served)
    noise = agreement.noise(measured, base.resolution or 0, base.resolution or 0)
    deltas = [a - b for a, b in zip(base.log_probabilities, served.log_probabilities, strict=True)]
    dice = random.Random(5)
    verdicts = []
    for _ in range(100):
        moved = msgspec.structs.replace(
            base,
            log_probabilities=[value + dice.choice(deltas) for value in base.log_probabilities],
        )
        verdicts += [check.verdict for check in agreement.agreement("x", "x", base, moved, noise)]
    assert verdicts.count("red") == 0
    assert verdicts.count("amber") <= 3
