"""What a preparation of data is asked to do: the parts of a recipe that concern it. Light."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from trainer.data.formats import Mapping
from trainer.data.policies import Policies
from trainer.data.split import Heldout
from trainer.objective import Scoring


class Source(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A file, a folder of them or a data set of the hub (hub:owner/name). `weight` is how often
    each of its conversations is seen in one epoch: 0.5 takes a random half of them, 2 each one
    twice."""

    path: Annotated[str, msgspec.Meta(min_length=1)]
    weight: Annotated[float, msgspec.Meta(gt=0.0, le=100.0)] = 1.0


class Mask(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which of the assistant's turns are trained: all, the last one of each conversation, or every
    token of everybody."""

    turns: Literal["all", "last", "everything"] = "all"


class DataSettings(msgspec.Struct, frozen=True):
    """Everything that decides what the samples are, but for the model."""

    sources: list[Source]
    format: Mapping = Mapping()
    policy: Policies = Policies()
    mask: Mask = Mask()
    heldout: Heldout = Heldout()
    max_length: int = 2048
    seed: int = 42
    scoring: Scoring = "turns"

    @property
    def all_sources(self) -> list[Source]:
        """What is trained on, then what is held out whole."""
        return [*self.sources, *(Source(path) for path in self.heldout.files)]
