"""Messages of different weights: each token's loss counts as much as its message's weight says.

TRL's fast loss knows no weights, so that this one is taken only where the data has some: it makes
all logits, and takes longer.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch.nn.functional import cross_entropy, pad
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


class WeightedLoss:
    """What a Trainer computes the loss by (its `compute_loss_func`): the sum of weight times
    cross-entropy over the number of trained tokens, so that 0.5 counts half of what 1 does."""

    of_batch: torch.Tensor
    """The weights of the batch that is computed; the model does not take them."""

    def __call__(
        self,
        outputs: Any,
        labels: torch.Tensor,
        num_items_in_batch: torch.Tensor | int | None = None,
    ) -> torch.Tensor:
        return weighted_loss(outputs.logits, labels, self.of_batch, num_items_in_batch)


def weighted_loss(
    logits: torch.Tensor,
    labels: torch.Tensor,
    weights: torch.Tensor,
    trained: torch.Tensor | int | None = None,
) -> torch.Tensor:
    """`trained` is the number of trained tokens of the whole step; None: of this batch."""
    targets = labels[:, 1:]
    losses = cross_entropy(
        logits[:, :-1].float().transpose(1, 2), targets, ignore_index=UNTRAINED, reduction="none"
    )
    number = (
        targets.ne(UNTRAINED).sum()
        if trained is None
        else torch.as_tensor(trained, device=losses.device)
    )
    return (losses * weights[:, 1:].to(losses.device)).sum() / number.clamp(min=1)
