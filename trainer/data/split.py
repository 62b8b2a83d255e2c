"""Which conversations are held out for evaluation, and how often each of the others is trained on
in an epoch. Light."""

from __future__ import annotations

import random
from array import array
from collections.abc import Callable
from typing import Annotated, Literal, NamedTuple

import msgspec

Share = Annotated[float, msgspec.Meta(ge=0.0, lt=1.0)]


class Heldout(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Conversations kept out of training, for the evaluation loss."""

    share: Share = 0.05
    """Of all, within the two bounds."""
    at_least: Annotated[int, msgspec.Meta(ge=0)] = 16
    at_most: Annotated[int, msgspec.Meta(ge=0)] = 200
    files: list[Annotated[str, msgspec.Meta(min_length=1)]] = []
    """Files, or folders of them, that are held out whole, instead of a share of the data."""
    leaks: Literal["move", "report"] = "move"
    """What becomes of those that nearly equal one that is trained on: "move" holds others out
    instead, "report" only counts them."""

    def count(self, conversations: int) -> int:
        """How many are held out; never more than a quarter, so that small data is still mostly
        trained on. With `files` none of them are."""
        if self.files or self.share == 0.0 or self.at_most == 0:
            return 0
        return min(
            max(round(self.share * conversations), self.at_least), self.at_most, conversations // 4
        )

    @property
    def is_off(self) -> bool:
        """Whether nothing is ever held out."""
        return not self.files and self.count(1_000_000) == 0


class Holdout(NamedTuple):
    """The conversations held out, how many leaks were moved to training, and how many stay and are
    reported."""

    heldout: frozenset[int]
    moved: int
    reported: int


def choose(
    conversations: array[int], heldout: Heldout, seed: int, has_twin: Callable[[int], bool]
) -> Holdout:
    """Choose among the numbers of conversations by the seed; `has_twin` tells whether another one
    nearly equals it."""
    count = heldout.count(len(conversations))
    order = array("q", range(len(conversations)))
    random.Random(seed).shuffle(order)
    heldout_numbers: list[int] = []
    leaks = 0
    for index in order:
        if len(heldout_numbers) == count:
            break
        twin = has_twin(conversations[index])
        leaks += twin
        if not twin or heldout.leaks == "report":
            heldout_numbers.append(conversations[index])
    moved = heldout.leaks == "move"
    return Holdout(frozenset(heldout_numbers), leaks if moved else 0, 0 if moved else leaks)


class Mixer:
    """How often a conversation is seen in one epoch: a weight of 2.5 means twice, and half of them
    a third time."""

    def __init__(self, weight: float, seed: int) -> None:
        self._whole, self._rest = int(weight), weight - int(weight)
        self._random = random.Random(seed)

    def copies(self) -> int:
        return self._whole + (self._random.random() < self._rest)
