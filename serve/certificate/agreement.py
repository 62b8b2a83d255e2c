"""Whether two implementations are one model: their figures on the same tokens, held against what
base against base differs by.

No threshold is invented: transformers and vLLM run the same untouched base model on the same tokens
on the same machine, and what they differ by there (rounding, the order of sums, other kernels) is
the unit of every bound. bench/RESULTS.md has the measurements that the factors come from.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from models.certificate import Check, Verdict
from serve.certificate.measured import Broken, Scored, Scores

# Correct pairs measure 0.65 of the noise, an adapter without its last layer of thirty 2.0, one
# that is a quarter too strong 2.3.
GREEN_FACTOR, RED_FACTOR = 1.5, 2.0
_SURE = 3.0  # standard errors
_WILSON = 1.645  # the 95 % upper bound of a share
# Base against base itself: two right implementations that round to the model's type differ by less
# than its resolution at the logits.
_CALIBRATION_GREEN, _CALIBRATION_RED = 1.0, 3.0
_SMALLEST_NOISE = 0.25  # of the resolution: what rounding the logits alone makes
# An adapter that moves a token by less than this share of the noise does nothing.
_NO_EFFECT = 0.02
ENOUGH_TOKENS = 200


@dataclass(frozen=True)
class Difference:
    """Two implementations on the same tokens, in nats a token: `nll` is the second's mean minus the
    first's, `spread` the mean of the absolute differences of single tokens, `error` the standard
    error of `nll`, `disagreed` the share of places where the two would have chosen different
    tokens."""

    nll: float
    spread: float
    error: float
    disagreed: float
    tokens: int


UNMOVED = Difference(nll=0.0, spread=0.0, error=0.0, disagreed=0.0, tokens=0)


def difference(reference: Scores, other: Scores) -> Difference:
    deltas = [
        a - b for a, b in zip(reference.log_probabilities, other.log_probabilities, strict=True)
    ]
    count = len(deltas)
    mean = sum(deltas) / count
    deviation = math.sqrt(sum((delta - mean) ** 2 for delta in deltas) / count)
    disagreements = sum(a != b for a, b in zip(reference.first, other.first, strict=True))
    return Difference(
        mean,
        sum(map(abs, deltas)) / count,
        deviation / math.sqrt(count),
        disagreements / count,
        count,
    )


def at_most(figure: float, green: float, red: float) -> Verdict:
    """A figure that is not a number is red."""
    if figure <= green:
        return "green"
    return "amber" if figure <= red else "red"


def _effect_verdict(moved: float, green: float, red: float) -> Verdict:
    if moved >= green:
        return "green"
    return "amber" if moved > red else "red"


@dataclass(frozen=True)
class Noise:
    """What two right implementations differ by on this machine, for the three figures; `base` is
    the measured base against base."""

    base: Difference
    nll: float
    spread: float
    disagreed: float


def noise(
    base: Difference,
    base_resolution: float,
    tuned_resolution: float,
    effect: Difference = UNMOVED,
    epsilon: float = 0.0,
) -> Noise:
    """The unit of the bounds. Rounding grows with the logits: where the tuned model's are larger
    than the base's, so is the noise. What the adapter adds is rounded, too, to `epsilon` of its
    `effect` (tuned beside base in transformers): the untouched base cannot show that noise, which
    is independent of its own. It counts where an adapter of few ranks moves much."""
    scale = max(1.0, tuned_resolution / base_resolution)
    return Noise(
        base=base,
        nll=math.hypot(scale * (abs(base.nll) + _SURE * base.error), epsilon * effect.nll),
        spread=math.hypot(
            scale * max(base.spread, _SMALLEST_NOISE * base_resolution), epsilon * effect.spread
        ),
        disagreed=_upper(base.disagreed, base.tokens),
    )


def noise_of(base: Scores, base_elsewhere: Scores, tuned: Scores) -> Noise:
    """The unit for `tuned`. `base` and `tuned` are in transformers, `base_elsewhere` is the base in
    the other program or form."""
    resolution = base.resolution or 0.0
    return noise(
        difference(base, base_elsewhere),
        resolution,
        tuned.resolution or resolution,
        difference(base, tuned),
        tuned.epsilon,
    )


def calibration(base: Difference, resolution: float) -> Check:
    """Base against base must itself be sound, or everything would pass beside it."""
    green, red = _CALIBRATION_GREEN * resolution, _CALIBRATION_RED * resolution
    verdict = at_most(base.spread, green, red)
    sentence = (
        f"On the untouched base model, transformers and vLLM differ by {base.spread:.4f} nats per"
        " token. The bounds below are multiples of this."
    )
    if verdict != "green":
        sentence = (
            f"Even on the untouched base model, transformers and vLLM differ by {base.spread:.3f}"
            f" nats per token, more than rounding explains ({green:.3f}): one of the two does not"
            " compute this model correctly."
        )
    return Check(
        "base against base",
        verdict,
        sentence,
        round(base.spread, 4),
        round(green, 4),
        round(red, 4),
        "nats a token",
    )


def effect(where: str, base: Scores, tuned: Scored, unit: Noise, elsewhere: float | None) -> Check:
    """Whether the adapter does anything. `elsewhere` is its effect in the other implementation,
    None where that is not known."""
    name = f"adapter effect, {where}"
    if isinstance(tuned, Broken):
        return Check(name, "red", f"{where} cannot run the adapter: {tuned.reason}")
    moved = difference(base, tuned).spread
    green, red = unit.spread, _NO_EFFECT * unit.spread
    verdict = _effect_verdict(moved, green, red)
    if verdict == "green":
        sentence = (
            f"In {where} the adapter moves each token's log-probability by {moved:.3f} nats on"
            " average."
        )
    elif verdict == "amber":
        little = "less than the difference between two programs: it learned little"
        sentence = (
            f"In {where} the adapter moves the log-probabilities by only {moved:.4f} nats,"
            f" {little}."
        )
    elif elsewhere is not None and elsewhere > red:
        sentence = f"{where} ignores the adapter: its answers are the base model's."
    else:
        sentence = f"The adapter changes nothing in {where}: its weights are zero or nearly zero."
    return Check(
        name,
        verdict,
        sentence,
        round(moved, 4),
        round(green, 4),
        round(red, 4),
        "nats a token",
        at_least=True,
    )


def agreement(
    name: str, model_words: str, tuned: Scores, other: Scored, unit: Noise
) -> list[Check]:
    """One implementation against transformers with PEFT, which is what was trained: three figures,
    three checks.

    `name` begins the names of the checks, `model_words` says it in a sentence.
    """
    if isinstance(other, Broken):
        return [Check(f"{name}, agreement", "red", f"{model_words} cannot be run: {other.reason}")]
    gap = difference(tuned, other)
    rows = (
        (
            "log-probs",
            gap.spread,
            unit.spread,
            "nats a token",
            "differs from the trained model by {:.4f} nats a token",
        ),
        (
            "mean NLL",
            abs(gap.nll),
            unit.nll,
            "nats",
            "has a mean NLL {:.4f} nats away from the trained model's",
        ),
        (
            "top-1",
            gap.disagreed,
            unit.disagreed,
            "of tokens",
            "would choose another token than the trained model at {:.1%} of all positions",
        ),
    )
    checks = []
    for figure_name, figure, bound, measure, words in rows:
        verdict = at_most(figure, GREEN_FACTOR * bound, RED_FACTOR * bound)
        much = (
            "as much as base against base"
            if verdict == "green"
            else f"{figure / bound:.1f} times the bound from base against base"
        )
        sentence = f"{model_words} {words.format(figure)}, {much}."
        checks.append(
            Check(
                f"{name}, {figure_name}",
                verdict,
                sentence,
                _rounded(figure),
                _rounded(GREEN_FACTOR * bound),
                _rounded(RED_FACTOR * bound),
                measure,
            )
        )
    return checks


def amount(tokens: int) -> Check:
    enough = tokens >= ENOUGH_TOKENS
    sentence = (
        f"Luthier compared {tokens:,} tokens."
        if enough
        else f"Luthier could compare only {tokens:,} tokens, so small faults may go unnoticed."
    )
    return Check(
        "tokens compared",
        "green" if enough else "amber",
        sentence,
        tokens,
        ENOUGH_TOKENS,
        None,
        "tokens",
        at_least=True,
    )


def _upper(share: float, count: int) -> float:
    """Wilson's upper bound of a share, so that a lucky count of few tokens makes no bound of
    zero."""
    squared = _WILSON**2
    centre = share + squared / (2 * count)
    return (
        centre + _WILSON * math.sqrt(share * (1 - share) / count + squared / (4 * count**2))
    ) / (1 + squared / count)


def _rounded(value: float) -> float:
    return round(value, 4)
