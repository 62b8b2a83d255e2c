"""Messages of different weights: each token's loss counts as much as its message's weight says.

TRL's fast loss knows no weights, so that this one is taken only where the data has some: it makes
all logits, and takes longer.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch.nn.functional import cross_entropy, pad
from trl import SFTTrainer
from trl.trainer.sft_trainer import DataCollatorForLanguageModeling

from models.stored_sample import UNTRAINED


@dataclass
class WeightCollator(DataCollatorForLanguageModeling):
    """Pads `weights` as TRL's collator pads the rest."""

    def torch_call(self, examples: list[dict[str, Any]]) -> dict[str, Any]:
        batch: dict[str, Any] = super().torch_call(examples)
        width = batch["labels"].shape[1]
        rows = [torch.tensor(example["weights"], dtype=torch.float32) for example in examples]
        batch["weights"] = torch.stack([pad(row, (0, width - len(row))) for row in rows])
        return batch


class WeightedTrainer(SFTTrainer):
    """The sum of weight times cross-entropy over the number of trained tokens: 0.5 counts half of
    what 1 does."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, compute_loss_func=self._loss, **named)
        self._weights: torch.Tensor | None = None

    def _set_signature_columns_if_needed(self) -> None:
        self._signature_columns: list[str] | None = ["input_ids", "labels", "weights"]

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], *arguments: Any, **named: Any
    ) -> Any:
        self._weights = inputs.pop("weights")
        return super().compute_loss(model, inputs, *arguments, **named)

    def _loss(
        self,
        outputs: Any,
        labels: torch.Tensor,
        num_items_in_batch: torch.Tensor | int | None = None,
    ) -> torch.Tensor:
        assert self._weights is not None
        return weighted_loss(outputs.logits, labels, self._weights, num_items_in_batch)


def weighted_loss(
    logits: torch.Tensor,
    labels: torch.Tensor,
    weights: torch.Tensor,
    trained: torch.Tensor | int | None = None,
) -> torch.Tensor:
    """`trained` is the number of trained tokens of the whole step; None: of this batch."""
    wanted = labels[:, 1:]
    losses = cross_entropy(
        logits[:, :-1].float().transpose(1, 2), wanted, ignore_index=UNTRAINED, reduction="none"
    )
    number = (
        wanted.ne(UNTRAINED).sum()
        if trained is None
        else torch.as_tensor(trained, device=losses.device)
    )
    return (losses * weights[:, 1:].to(losses.device)).sum() / number.clamp(min=1)
