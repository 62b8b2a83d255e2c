"""Which two models to vote on next: those whose question is answered soonest. Standard library
only."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from serve.votes.confidence import CONFIDENCE, evidence, is_decided
from serve.votes.statistics import Duel

Pair = tuple[str, str]


def next_pair(duels: Sequence[Duel], waiting: Iterable[Pair]) -> Pair | None:
    """Of the pairs that wait for a vote the one that is decided soonest, by what its votes so far
    say; None if all are decided."""
    scores = {frozenset((duel.model, duel.other)): (duel.wins, duel.losses) for duel in duels}
    open_pairs = [
        (expected_votes(*score), pair)
        for pair in waiting
        if not is_decided(*(score := scores.get(frozenset(pair), (0, 0))))
    ]
    return min(open_pairs, key=lambda item: item[0])[1] if open_pairs else None


def expected_votes(wins: int, losses: int) -> float:
    """How many more votes a decision takes, about: the evidence that is missing over what a vote
    brings on average, which is the divergence of the win rate from one half under its posterior
    (uniform before the first vote)."""
    missing = -math.log1p(-CONFIDENCE) - evidence(wins, losses)
    first, second = wins + 1, losses + 1
    total = first + second
    gain = math.log(2) + sum(
        count / total * (_harmonic(count) - _harmonic(total)) for count in (first, second)
    )
    return max(0.0, missing) / max(gain, 1e-9)


def _harmonic(number: int) -> float:
    """1 + 1/2 + ... + 1/number: digamma functions of whole numbers differ as these do."""
    return math.fsum(1 / count for count in range(1, number + 1))
