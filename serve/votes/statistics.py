"""What votes say about two models: how often one wins, how sure that is, and what more votes would
bring. Standard library only."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from statistics import NormalDist
from typing import Any

from serve.votes.ballots import Comparison, turned
from serve.votes.confidence import CONFIDENCE, is_decided, p_value, win_rate_bounds

SIGNIFICANT = 0.05
MOST_VOTES = 2_000  # more than anybody casts: then the answer is that no number in sight decides it


@dataclass(frozen=True)
class AtAnyTime:
    """What holds at every number of votes at once (serve.votes.confidence)."""

    interval: tuple[float, float]
    p_value: float
    decided: bool
    more_votes: int | None


@dataclass(frozen=True)
class Duel:
    """Two models, over all votes in which both stood. `wins` and `losses` are those of `model`.

    `win_rate` is wins / (wins + losses): ties and votes for neither say nothing of who is better
    and are told apart. `interval` is Wilson's. `p_value` is of the exact two-sided sign test: how
    often a coin would be at least as one-sided. `more_votes` is how many further ones, ties
    included, would decide it if they fell as these did; 0 if it is decided, None if no number in
    sight would. All three are right for a number of votes that was fixed beforehand, as a judge's
    is; for votes that somebody looks at as they come there is `at_any_time`.
    """

    model: str
    other: str
    wins: int
    losses: int
    ties: int
    bad: int
    win_rate: float | None
    interval: tuple[float, float] | None
    p_value: float | None
    more_votes: int | None
    mean_length: float
    mean_other_length: float
    longer_won: int
    shorter_won: int

    @property
    def votes(self) -> int:
        return self.wins + self.losses + self.ties + self.bad

    @property
    def decided(self) -> bool:
        return self.p_value is not None and self.p_value < SIGNIFICANT

    @cached_property
    def at_any_time(self) -> AtAnyTime:
        return AtAnyTime(
            win_rate_bounds(self.wins, self.losses),
            p_value(self.wins, self.losses),
            is_decided(self.wins, self.losses),
            more_votes(self.wins, self.losses, self.ties + self.bad, is_decided),
        )

    def to_json(self) -> dict[str, Any]:
        return {
            **asdict(self),
            "votes": self.votes,
            "decided": self.decided,
            "at_any_time": asdict(self.at_any_time),
        }


def duels(comparisons: Sequence[Comparison]) -> list[Duel]:
    """Each two models that were compared, the most votes first; of a pair, the one with more wins
    first."""
    pairs: dict[tuple[str, str], list[Comparison]] = {}
    for comparison in comparisons:
        pairs.setdefault((comparison.first, comparison.second), []).append(comparison)
    return sorted(
        (_duel(group) for group in pairs.values()), key=lambda duel: (-duel.votes, duel.model)
    )


def _duel(group: Sequence[Comparison]) -> Duel:
    outcomes = [comparison.outcome for comparison in group]
    if outcomes.count("second") > outcomes.count("first"):
        return _duel([turned(comparison) for comparison in group])
    wins, losses, ties, bad = (
        outcomes.count(outcome) for outcome in ("first", "second", "tie", "bad")
    )
    decided = wins + losses
    longer = sum(_longer_won(comparison) for comparison in group if comparison.decided)
    shorter = sum(_shorter_won(comparison) for comparison in group if comparison.decided)
    return Duel(
        model=group[0].first,
        other=group[0].second,
        wins=wins,
        losses=losses,
        ties=ties,
        bad=bad,
        win_rate=wins / decided if decided else None,
        interval=wilson(wins, decided) if decided else None,
        p_value=sign_test(wins, losses) if decided else None,
        more_votes=more_votes(wins, losses, ties + bad),
        mean_length=sum(comparison.first_length for comparison in group) / len(group),
        mean_other_length=sum(comparison.second_length for comparison in group) / len(group),
        longer_won=longer,
        shorter_won=shorter,
    )


def wilson(wins: int, votes: int, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """The score interval of a share (Wilson 1927), which holds its confidence also for few votes
    and shares near 0 and 1."""
    z = NormalDist().inv_cdf(0.5 + confidence / 2)
    share, spread = wins / votes, z * z / votes
    middle = (share + spread / 2) / (1 + spread)
    half = z / (1 + spread) * math.sqrt(share * (1 - share) / votes + spread / (4 * votes))
    return (0.0 if wins == 0 else middle - half, 1.0 if wins == votes else middle + half)


def sign_test(wins: int, losses: int) -> float:
    """The exact two-sided p-value of `wins` against `losses` under a fair coin."""
    votes, fewer = wins + losses, min(wins, losses)
    tail = ways = 1
    for count in range(1, fewer + 1):
        ways = ways * (votes - count + 1) // count
        tail += ways
    return float(min(1.0, 2 * tail / 2**votes))


def is_significant(wins: int, losses: int) -> bool:
    """By the sign test, for a number of votes that was fixed beforehand."""
    return sign_test(wins, losses) < SIGNIFICANT


def more_votes(
    wins: int,
    losses: int,
    undecided: int,
    decides: Callable[[int, int], bool] = is_significant,
) -> int | None:
    """How many further votes would decide if they fell in these proportions."""
    decided = wins + losses
    if decided == 0 or wins == losses:
        return None
    share = max(wins, losses) / decided
    # by the normal curve, which is a little too hopeful
    about = (NormalDist().inv_cdf(1 - SIGNIFICANT / 2) / (2 * share - 1)) ** 2
    for total in range(max(decided, int(0.8 * about) - 5), MOST_VOTES + 1):
        ahead = round(share * total)
        if decides(ahead, total - ahead):
            return math.ceil((total - decided) * (decided + undecided) / decided)
    return None


def fewest_votes() -> int:
    """The votes of one mind that a decision takes at least, of whoever looks at any time."""
    return next(votes for votes in range(1, 100) if is_decided(votes, 0))


def _longer_won(comparison: Comparison) -> bool:
    difference = comparison.first_length - comparison.second_length
    return difference > 0 if comparison.outcome == "first" else difference < 0


def _shorter_won(comparison: Comparison) -> bool:
    return comparison.first_length != comparison.second_length and not _longer_won(comparison)
