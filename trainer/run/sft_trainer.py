"""The Trainer of supervised fine-tuning: TRL's SFTTrainer, under Unsloth that of Unsloth."""

from __future__ import annotations

from typing import Any

import pyarrow.compute as pc  # type: ignore[import-untyped]
from trl import SFTTrainer

from models.stored_sample import UNTRAINED
from trainer.distributed import ranks
from trainer.distributed.rank_batches import Fillable
from trainer.kernels.padding_free import FlatBatches, count_tokens
from trainer.kernels.scored_rows import SCORED, scoring
from trainer.run.run_trainer import RunTrainer
from trainer.run.weighted import WeightedLoss


class SftTrainer(RunTrainer, SFTTrainer):
    """`flat`: batches are FlatBatches, for a FlatCollator. `weights`: samples have weights."""

    def __init__(self, *, flat: bool, weights: WeightedLoss | None, **run: Any) -> None:
        self._flat = flat
        self._weights = weights
        if weights is not None:
            run["compute_loss_func"] = weights
        super().__init__(**run)

    def tokens_in(self, batch: dict[str, Any]) -> Any:
        return count_tokens(batch)

    def weight_of(self, batch: dict[str, Any]) -> float:
        return float(batch["labels"][:, 1:].ne(UNTRAINED).sum())

    def get_train_dataloader(self) -> Any:
        if not self._flat:
            return super().get_train_dataloader()
        args = self.args
        rows: Any = self.train_dataset
        batches = FlatBatches(
            self._get_train_sampler(rows),
            pc.list_value_length(rows.data.column("input_ids")).to_pylist(),
            args.per_device_train_batch_size,
            args.gradient_accumulation_steps,
            ranks.count(),
        )
        return self._loader(rows if ranks.count() == 1 else Fillable(rows), batches)

    def _set_signature_columns_if_needed(self) -> None:
        super()._set_signature_columns_if_needed()
        if self._weights is not None:
            self._signature_columns = ["input_ids", "labels", "weights"]

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], *arguments: Any, **keywords: Any
    ) -> Any:
        if self._weights is not None:
            self._weights.of_batch = inputs.pop("weights")
        with scoring(inputs.pop(SCORED, None)):
            return super().compute_loss(model, inputs, *arguments, **keywords)
