"""How many tokens a micro-batch holds. Light."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

# the largest of some thousand batches lies so many standard deviations above the mean one
_DEVIATIONS = 4.0


@dataclass(frozen=True)
class Lengths:
    """Tokens of the conversations of a run: estimated by the plan from their text, exact in the
    run. `spread`: the standard deviation."""

    mean: float
    longest: int
    spread: float = 0.0

    def largest(self, conversations: int, *, padding_free: bool) -> int:
        """Tokens of the largest micro-batch of so many conversations, padding counted."""
        if not padding_free:
            return conversations * self.longest
        usual = conversations * self.mean + _DEVIATIONS * self.spread * math.sqrt(conversations)
        return max(self.longest, min(conversations * self.longest, round(usual)))

    def computed(self, conversations: int, *, padding_free: bool) -> float:
        """What is computed for a token that counts: 1, or more where conversations are padded to
        the longest of their micro-batch."""
        if padding_free or conversations == 1 or not self.mean:
            return 1.0
        longest = min(
            self.longest, self.mean + self.spread * math.sqrt(2 * math.log(conversations))
        )
        return max(1.0, longest / self.mean)


def largest(
    batches: Iterable[list[int]], lengths: list[int], *, padding_free: bool
) -> tuple[list[int], int]:
    """The micro-batch (sample numbers) with the most tokens, padding counted, and how many those
    are."""

    def tokens(numbers: list[int]) -> int:
        counts = [lengths[number] for number in numbers]
        return sum(counts) if padding_free else len(counts) * max(counts)

    numbers = max(batches, key=tokens)
    return numbers, tokens(numbers)
