"""How far what is shipped is from the trained model, in units of what its form costs the base."""

from __future__ import annotations

from dataclasses import dataclass, replace

from models.certificate import Check, Verdict
from serve.certificate.agreement import (
    Noise,
    agreement,
    amount,
    at_most,
    difference,
    noise_of,
)
from serve.certificate.measured import Broken, Scored, Scores

# Of what training changed: how much of it may be gone. At 0.9 the file is as good as the base.
KEPT_GREEN, KEPT_RED = 0.5, 0.9
_SHARE = "of what training changed"
_BASE_SHARE_GREEN, _BASE_SHARE_RED = 0.5, 1.0


@dataclass(frozen=True)
class Measured:
    """The base and the tuned model in transformers, and the two in the shipped form: the second
    base is rounded in the same way and run by the same program. None: that could not be made, for
    the reason `uncalibrated`."""

    base: Scores
    tuned: Scores
    shipped: Scored
    base_shipped: Scored | None
    uncalibrated: str = ""


def checks(measured: Measured, title: str) -> list[Check]:
    """`title` is what is shipped, in a sentence."""
    tuned, shipped = measured.tuned, measured.shipped
    if isinstance(shipped, Broken):
        return [Check("agreement", "red", f"{title} cannot be run: {shipped.reason}.")]
    unit, calibrated = _unit(measured)
    rows = [amount(len(tuned.first)), _calibration(measured, unit)]
    kept = _kept(measured.base, tuned, shipped, title)
    for check in agreement("shipped", title, tuned, shipped, unit):
        row = replace(check, sentence=_about_base(check.sentence))
        if not calibrated and row.verdict == "red":
            row = replace(row, verdict="amber", red=None)
        rows.append(row)
    return [*rows, kept]


def in_noise(measured: Measured) -> float | None:
    """The distance of single tokens in units of the noise; None where it could not be measured."""
    unit, calibrated = _unit(measured)
    if isinstance(measured.shipped, Broken) or not calibrated:
        return None
    return difference(measured.tuned, measured.shipped).spread / unit.spread


def _unit(measured: Measured) -> tuple[Noise, bool]:
    base, tuned = measured.base, measured.tuned
    if isinstance(measured.base_shipped, Scores):
        return noise_of(base, measured.base_shipped, tuned), True
    resolution = base.resolution or 0.0
    # two right programs in 16 bits differ by less (docs/certificate.md)
    return replace(noise_of(base, base, tuned), spread=resolution, nll=resolution), False


def _calibration(measured: Measured, unit: Noise) -> Check:
    """What the form costs the base: more than half of what training changed says little."""
    name, measure = "the base, the same way", _SHARE
    twin = measured.base_shipped
    if twin is None or isinstance(twin, Broken):
        reason = twin.reason if isinstance(twin, Broken) else measured.uncalibrated
        return Check(
            name,
            "amber",
            f"Luthier has no base model in this form to measure with: {reason.rstrip('.')}. The"
            " bounds are those of 16 bits, and no figure of agreement alone turns red.",
        )
    changed = difference(measured.base, measured.tuned).spread
    share = unit.base.spread / changed if changed else 1.0
    verdict: Verdict = at_most(share, _BASE_SHARE_GREEN, _BASE_SHARE_RED)
    words = f"In this form the base model moves by {unit.base.spread:.4f} nats a token"
    sentence = (
        f"{words}. The bounds below are multiples of this."
        if verdict == "green"
        else f"{words}, {share:.0%} of what training changed ({changed:.4f}): the form is too"
        " coarse for what was learnt, or it was made wrongly."
    )
    return Check(
        name, verdict, sentence, round(share, 3), _BASE_SHARE_GREEN, _BASE_SHARE_RED, measure
    )


def _kept(base: Scores, tuned: Scores, shipped: Scores, title: str) -> Check:
    changed = difference(base, tuned).spread
    away = difference(tuned, shipped).spread
    share = away / changed if changed else 0.0
    verdict = at_most(share, KEPT_GREEN, KEPT_RED)
    sentence = (
        f"{title} is {away:.4f} nats a token from the trained model, which training moved by"
        f" {changed:.4f}."
    )
    if verdict == "red":
        sentence += " It is as far from the trained model as the base is, or farther."
    return Check(
        "distance from trained",
        verdict,
        sentence,
        round(share, 3),
        KEPT_GREEN,
        KEPT_RED,
        _SHARE,
    )


def _about_base(sentence: str) -> str:
    return sentence.replace("as base against base", "as the base in the same form").replace(
        "the bound from base against base", "the bound from the base in the same form"
    )
