"""Verdicts of what is shipped, from figures that were measured: vLLM's base stands for the base in
another form, its tuned models for what is shipped."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from models.certificate import Check, worst
from serve.certificate.measured import Broken, Scores
from serve.shipped import agreement
from serve.shipped.agreement import Measured

_RECORDED = json.loads((Path(__file__).parents[1] / "certificate" / "captain.json").read_text())


def scores(name: str) -> Scores:
    return msgspec.convert({"type": "scores", **_RECORDED[name]}, type=Scores)


@pytest.fixture
def measured() -> Measured:
    return Measured(
        scores("transformers base"),
        scores("transformers tuned"),
        scores("vLLM captain"),
        scores("vLLM base"),
    )


def verdicts(measured: Measured) -> dict[str, Check]:
    return {check.name: check for check in agreement.checks(measured, "The file")}


def test_a_healthy_one_is_green_and_told_in_units_of_the_noise(measured: Measured) -> None:
    assert worst(check.verdict for check in verdicts(measured).values()) == "green"
    distance = agreement.in_noise(measured)
    assert distance is not None and 0.4 < distance < 1.2


@pytest.mark.parametrize("name", ["vLLM zero", "vLLM downless", "vLLM alpha200"])
def test_a_broken_one_is_red_in_its_own_form_s_noise(measured: Measured, name: str) -> None:
    checks = verdicts(replace(measured, shipped=scores(name)))
    assert checks["shipped, log-probs"].verdict == "red"
    assert "the base in the same form" in checks["shipped, log-probs"].sentence


def test_what_an_adapter_adds_is_rounded_in_every_form_too(measured: Measured) -> None:
    """An adapter that moves twenty times as much as the captain's, as one of rank 1 may, and what
    is shipped of it: each token off by bfloat16's rounding of what the adapter adds."""
    base, tuned = measured.base, measured.tuned
    added = [
        20 * (after - before)
        for before, after in zip(base.log_probabilities, tuned.log_probabilities, strict=True)
    ]
    strong, shipped = (
        msgspec.structs.replace(
            tuned,
            log_probabilities=[
                before + moved + sign * rounding * abs(moved)
                for before, moved, sign in zip(
                    base.log_probabilities, added, itertools.cycle((1, -1)), strict=False
                )
            ],
            epsilon=2**-7,
        )
        for rounding in (0.0, 2**-7)
    )
    healthy = replace(measured, tuned=strong, shipped=shipped)
    assert worst(check.verdict for check in verdicts(healthy).values()) == "green"
    unrounded = replace(healthy, tuned=msgspec.structs.replace(strong, epsilon=0.0))
    assert verdicts(unrounded)["shipped, log-probs"].verdict == "red"


def test_a_coarse_form_widens_the_bounds_and_says_so(measured: Measured) -> None:
    """The base moves by as much as training changed: no figure of agreement can then be trusted."""
    coarse = replace(measured, base_shipped=scores("transformers tuned"))
    checks = verdicts(coarse)
    assert checks["shipped, log-probs"].verdict == "green"
    assert checks["the base, the same way"].verdict == "amber"
    assert "too coarse" in checks["the base, the same way"].sentence


def test_without_the_base_in_that_form_only_the_loss_of_training_is_red(
    measured: Measured,
) -> None:
    bare = replace(measured, base_shipped=None, uncalibrated="there is no converter")
    assert worst(check.verdict for check in verdicts(bare).values()) == "amber"
    assert "there is no converter" in verdicts(bare)["the base, the same way"].sentence
    zero = verdicts(replace(bare, shipped=scores("vLLM zero")))
    assert zero["shipped, log-probs"].verdict == "amber"
    assert zero["distance from trained"].verdict == "red"
    assert "as far from the trained model as the base" in zero["distance from trained"].sentence
    assert agreement.in_noise(bare) is None


def test_one_that_cannot_be_run_is_red(measured: Measured) -> None:
    broken = replace(measured, shipped=Broken("its files lack lm_head.weight"))
    (check,) = agreement.checks(broken, "The file")
    assert check.verdict == "red" and "lack lm_head.weight" in check.sentence
