"""A sample as a line of `data/train.jsonl` and `data/heldout.jsonl` has it."""

from __future__ import annotations

from typing import Any

import msgspec

UNTRAINED = -100
"""The label of a token that is not trained: what torch's cross-entropy leaves out."""


class StoredAnswer(msgspec.Struct, frozen=True):
    """The rejected answer of a pair, after its prompt."""

    turns: list[int]
    input_ids: list[int]
    labels: list[int]


class StoredSample(msgspec.Struct, frozen=True):
    """A sample as the trainer would see it; of a pair with the chosen answer."""

    source: dict[str, Any]
    """The `file` and `row` that it comes from."""
    turns: list[int]
    """The indices of the messages that are trained."""
    input_ids: list[int]
    labels: list[int]
    """`input_ids` where trained, else UNTRAINED."""
    weights: list[float] | None = None
    """One figure a token where some weight is not 1."""
    rejected: StoredAnswer | None = None
    """What the answer is preferred to, in a pair."""
    is_good: bool | None = None
    """What an answer with a verdict is called."""

    @property
    def sides(self) -> list[tuple[str, StoredSample]]:
        """Each text of it, with what kind of answer that is; "" where all are alike."""
        if self.rejected is None:
            verdicts = {True: "good answer", False: "bad answer", None: ""}
            return [(verdicts[self.is_good], self)]
        other = self.rejected
        return [
            ("chosen answer", self),
            (
                "rejected answer",
                StoredSample(self.source, other.turns, other.input_ids, other.labels),
            ),
        ]


class StoredConversation(StoredSample, frozen=True, kw_only=True):
    """The same with what it was rendered from."""

    messages: list[dict[str, Any]]
    tools: list[dict[str, Any]] | None = None
