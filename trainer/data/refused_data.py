"""Data that the recipe refuses, and the changes of the recipe with which it could be read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from jobs.luthier_error import LuthierError


@dataclass(frozen=True)
class ProposedChange:
    title: str
    """What would become of the rows, in words."""
    values: Mapping[str, Any]
    """The new value of each key of the recipe ("policy.damage"); None takes the key away."""


class RefusedData(LuthierError):
    def __init__(
        self, title: str, message: str, hint: str = "", proposals: Sequence[ProposedChange] = ()
    ) -> None:
        super().__init__(title, message, hint)
        self.proposals = tuple(proposals)
        """The most promising first; none where only other data helps."""
