"""A sample as a line of `data/train.jsonl` and `data/heldout.jsonl` has it."""

from __future__ import annotations

from typing import Any

import msgspec

UNTRAINED = -100
"""The label of a token that is not trained: what torch's cross-entropy leaves out."""


class StoredSample(msgspec.Struct, frozen=True):
    """A sample as the trainer would see it."""

    source: dict[str, Any]
    """The `file` and `row` that it comes from."""
    turns: list[int]
    """The indices of the messages that are trained."""
    input_ids: list[int]
    labels: list[int]
    """`input_ids` where trained, else UNTRAINED."""
    weights: list[float] | None = None
    """One figure a token where some weight is not 1."""


class StoredConversation(StoredSample, frozen=True, kw_only=True):
    """The same with what it was rendered from."""

    messages: list[dict[str, Any]]
    tools: list[dict[str, Any]] | None = None
