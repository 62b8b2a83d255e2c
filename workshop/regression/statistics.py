"""Paired statistics of items that a base and a tuned model have both answered. Standard library
only, so that whoever shows a result may import it."""

from __future__ import annotations

from collections.abc import Sequence
from math import comb, sqrt
from statistics import NormalDist, fmean, stdev

LEVEL = 0.05
_Z = NormalDist().inv_cdf(1 - LEVEL / 2)


def exact_test(lost: int, won: int) -> float:
    """McNemar's exact test, two-sided: how probable a split of the changed items at least as uneven
    is, if each had been won or lost by the toss of a coin."""
    changed = lost + won
    tail: int = sum(comb(changed, count) for count in range(min(lost, won) + 1))
    return min(1.0, 2.0 * tail / 2.0**changed)


def share_interval(lost: int, won: int, items: int) -> tuple[float, float]:
    """95 % bounds of the difference of two paired shares, tuned less base: Bonett and Price (2012),
    which holds its level for few items too, and is no point where nothing has changed."""
    won_share, lost_share = (won + 1) / (items + 2), (lost + 1) / (items + 2)
    difference = won_share - lost_share
    spread = _Z * sqrt((won_share + lost_share - difference**2) / (items + 2))
    return max(-1.0, difference - spread), min(1.0, difference + spread)


def mean_interval(differences: Sequence[float]) -> tuple[float, float]:
    """95 % bounds of the mean of paired differences, by Student's t. Infinite for fewer than
    two."""
    if len(differences) < 2:
        return float("-inf"), float("inf")
    spread = t_quantile(len(differences) - 1) * stdev(differences) / sqrt(len(differences))
    middle = fmean(differences)
    return middle - spread, middle + spread


def t_quantile(freedom: int) -> float:
    """The 97.5 % quantile of Student's t: Cornish and Fisher's expansion, exact to 0.2 % from five
    degrees of freedom on."""
    z = _Z
    terms = (
        z,
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
        (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / 92160,
    )
    return float(sum(term / freedom**power for power, term in enumerate(terms)))


def holm(p_values: Sequence[float]) -> list[float]:
    """The p values, corrected for their number by Holm's method: the chance that even one of all
    these tests is significant by accident stays below the level, however they depend on each
    other."""
    corrected, highest = [0.0] * len(p_values), 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        highest = max(highest, min(1.0, p_values[index] * (len(p_values) - rank)))
        corrected[index] = highest
    return corrected
