"""Unsloth's loss of those tokens alone that are scored.

Unsloth multiplies every position with the head, and in a chat about half of them, the prompts, have
no label: for an 8B model of Llama 3 that is a twentieth of a step. The loss is the same. For
workers whose process has Unsloth.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import torch

from models.stored_sample import UNTRAINED
from trainer.kernels.unsloth_functions import Function, replace_in_models

SCORED = "scored"
"""What a batch calls the positions that are scored."""
_positions: ContextVar[torch.Tensor | None] = ContextVar("positions", default=None)


def scored_positions(labels: torch.Tensor, multiple: int) -> torch.Tensor:
    """Of `labels` (1, tokens), the positions (n,) whose next token has a label, filled up to a
    multiple of `multiple`, and never none, with the last one, which has no next token."""
    (positions,) = labels[0, 1:].ne(UNTRAINED).nonzero(as_tuple=True)
    filling = -max(1, len(positions)) % multiple + (len(positions) == 0)
    return torch.nn.functional.pad(positions, (0, filling), value=labels.shape[1] - 1)


@contextmanager
def scoring(positions: torch.Tensor | None) -> Iterator[None]:
    """The loss of a batch is computed of these positions meanwhile; None: of all."""
    token = _positions.set(positions)
    try:
        yield
    finally:
        _positions.reset(token)


def use_scored_rows() -> None:
    """Have Unsloth's models in this process compute their loss so."""
    replace_in_models("unsloth_fused_ce_loss", of_scored_rows)


def of_scored_rows(usual: Function) -> Function:
    """Unsloth's function, of the positions that `scoring` names."""

    @functools.wraps(usual)
    def loss(
        *arguments: Any, hidden_states: torch.Tensor, labels: torch.Tensor, **keywords: Any
    ) -> Any:
        positions = _positions.get()
        if positions is None or not keywords.get("shift_labels", True):
            return usual(*arguments, hidden_states=hidden_states, labels=labels, **keywords)
        following = torch.nn.functional.pad(labels[:, 1:], (0, 1), value=UNTRAINED)
        keywords["shift_labels"] = False
        return usual(
            *arguments,
            hidden_states=hidden_states.index_select(1, positions),
            labels=following.index_select(1, positions),
            **keywords,
        )

    return loss
