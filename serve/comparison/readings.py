"""What a difference may be called: chance, seeds' noise, too few, or clear. The rules are the same
wherever a comparison says why."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from serve.comparison.summary import bootstrap_interval
from serve.votes.statistics import SIGNIFICANT, sign_test

FEW = 8
"""Of fewer prompts nothing is said: even if all of them changed alike, chance does that too often
once several things are looked at."""

Reading = Literal["clear", "chance", "seeds", "few"]
WORDS: dict[Reading, str] = {
    "clear": "clear",
    "chance": "may be chance",
    "seeds": "within two seeds",
    "few": "too few to say",
}


def holm(p_values: Sequence[float]) -> list[float]:
    """Each p-value as it counts among the others (Holm 1979): of twenty looks, one is below 0.05 by
    chance."""
    order = sorted(range(len(p_values)), key=p_values.__getitem__)
    adjusted = [1.0] * len(p_values)
    highest = 0.0
    for rank, index in enumerate(order):
        highest = max(highest, min(1.0, p_values[index] * (len(p_values) - rank)))
        adjusted[index] = highest
    return adjusted


def p_of(differences: Sequence[float]) -> float:
    """The exact sign test's, over the prompts on which there is a difference."""
    return sign_test(
        sum(difference > 0 for difference in differences),
        sum(difference < 0 for difference in differences),
    )


def seeds_unit(differences: Sequence[float]) -> float:
    """How large a difference two seeds can make: the far end of the 95 % interval of theirs."""
    return max(abs(bound) for bound in bootstrap_interval(differences))


def reading(prompts: int, difference: float, adjusted_p: float, unit: float | None) -> Reading:
    if prompts < FEW:
        return "few"
    if unit is not None and abs(difference) <= unit:
        return "seeds"
    return "clear" if adjusted_p < SIGNIFICANT else "chance"
