"""How sure a win rate is, whenever one looks. Standard library only.

Votes are looked at after each one, and a person stops when the result pleases. An interval that
holds its confidence at one number of votes does not hold it over all of them: looked at after each
of 100 fair votes, the usual 95 % interval excludes one half at some time in about a third of all
cases. A confidence sequence holds at every moment at once. This one is the beta-binomial mixture
martingale (Robbins 1970; Howard, Ramdas, McAuliffe and Sekhon 2021, "Time-uniform, nonparametric,
nonasymptotic confidence sequences", Annals of Statistics 49(2), arXiv:1810.08240, section 4.2 and
proposition 7), which for votes that are won or lost is exact: by Ville's inequality the likelihood
ratio of the mixture against the true rate ever exceeds 1/alpha with probability at most alpha. The
mixture is Jeffreys' Beta(1/2, 1/2), which loses little wherever the rate lies.
"""

from __future__ import annotations

import math

CONFIDENCE = 0.95
_PRIOR = 0.5
_BISECTIONS = 60


def evidence(wins: int, losses: int, rate: float = 0.5) -> float:
    """The logarithm of how much better the mixture explains the votes than this win rate does: the
    wealth of somebody who bets against it, starting with 1."""
    mixture = _log_beta(wins + _PRIOR, losses + _PRIOR) - _log_beta(_PRIOR, _PRIOR)
    return mixture - _log_likelihood(wins, losses, rate)


def win_rate_bounds(wins: int, losses: int, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """The rates that the votes have not refuted so far. Holds for all numbers of votes at once."""
    limit = -math.log1p(-confidence)
    if wins + losses == 0:
        return 0.0, 1.0
    share = wins / (wins + losses)
    low = 0.0 if wins == 0 else _crossing(wins, losses, 0.0, share, limit)
    high = 1.0 if losses == 0 else _crossing(wins, losses, 1.0, share, limit)
    return low, high


def p_value(wins: int, losses: int) -> float:
    """That both models are equal; as valid at any time as the bounds, if the smallest so far is
    taken or the one of now."""
    return min(1.0, math.exp(-evidence(wins, losses)))


def is_decided(wins: int, losses: int, confidence: float = CONFIDENCE) -> bool:
    """Whether one half is refuted."""
    return evidence(wins, losses) >= -math.log1p(-confidence)


def _crossing(wins: int, losses: int, outside: float, inside: float, limit: float) -> float:
    """Where the evidence against a rate falls to the limit on the way from a rate that is refuted
    to the observed one, which is not."""
    for _ in range(_BISECTIONS):
        middle = (outside + inside) / 2
        if evidence(wins, losses, middle) > limit:
            outside = middle
        else:
            inside = middle
    return outside


def _log_likelihood(wins: int, losses: int, rate: float) -> float:
    if (wins and rate <= 0) or (losses and rate >= 1):
        return -math.inf
    gained = wins * math.log(rate) if wins else 0.0
    lost = losses * math.log1p(-rate) if losses else 0.0
    return gained + lost


def _log_beta(first: float, second: float) -> float:
    return math.lgamma(first) + math.lgamma(second) - math.lgamma(first + second)
