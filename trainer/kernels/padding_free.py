"""Padding-free ("flat") batches: the conversations of a micro-batch behind each other in one row,
without a padding token.

It is the same experiment as padded batches: a global batch holds the same conversations, in the
order that the Trainer's own sampler gives, and the Trainer divides the sum of its tokens' losses by
their number, however they are split. Attention keeps to each conversation
(trainer.kernels.attention, or the engine's own), positions begin anew in each, and no label reaches
over a border.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import numpy as np
import torch
from torch.utils.data import Sampler

from models.stored_sample import UNTRAINED
from trainer.distributed.rank_batches import RankBatches
from trainer.kernels.scored_rows import SCORED, scored_positions


class FlatBatches(RankBatches):
    """Cuts each global batch that `sampler` gives (`groups` times `micro_batch` conversations for
    each rank) into `groups` of about equal tokens a rank. The last one of an epoch may be smaller,
    and is cut into as many as padded micro-batches would be, so that steps are counted the same."""

    def __init__(
        self,
        sampler: Sampler[int],
        lengths: Sequence[int],
        micro_batch: int,
        groups: int,
        ranks: int = 1,
    ) -> None:
        super().__init__(sampler, micro_batch, groups, ranks)
        self._lengths = lengths

    def deal(self, rows: list[int], parts: int) -> list[list[int]]:
        return [
            [rows[index] for index in group]
            for group in balanced([self._lengths[row] for row in rows], parts)
        ]


def balanced(lengths: Sequence[int], groups: int) -> list[list[int]]:
    """The indices 0, 1, ... in `groups` lists of about equal sums of lengths, each in ascending
    order: the longest one left goes to the shortest group (Graham 1969: at most 4/3 of the best
    possible). No group is empty if there are at least as many indices."""
    dealt: list[list[int]] = [[] for _ in range(groups)]
    heap = [(0, number) for number in range(groups)]
    for index in sorted(range(len(lengths)), key=lambda index: -lengths[index]):
        total, number = heap[0]
        dealt[number].append(index)
        heapq.heapreplace(heap, (total + lengths[index], number))
    return [sorted(group) for group in dealt]


GPU_MULTIPLE = 16
"""FlatCollator's `multiple` on a GPU: fast products want 8, and Triton compiles a kernel once more
for sizes that 16 does not divide."""


@dataclass(frozen=True)
class FlatCollator:
    """Samples behind each other as one row. `borders` makes of their lengths what the engine's
    attention keeps them apart by. `names_scored`: the batch names the positions that are scored,
    for `trainer.kernels.scored_rows`.

    The row is filled up to a multiple of `multiple` tokens by one more sample without a label: on a
    GPU products with an odd number of tokens go to a slow kernel (7 % of a step of an 8B model,
    bench/gpu/RESULTS.md)."""

    borders: Callable[[list[int]], dict[str, Any]]
    multiple: int = 1
    names_scored: bool = False

    def __call__(self, rows: list[dict[str, Any]]) -> dict[str, Any]:
        lengths = [len(row["input_ids"]) for row in rows]
        filler = -sum(lengths) % self.multiple
        lengths += [filler] if filler else []
        labels = _joined(rows, "labels", filler, UNTRAINED)
        labels[0, [0, *accumulate(lengths[:-1])]] = UNTRAINED
        batch = {
            "input_ids": _joined(rows, "input_ids", filler, 0),
            "labels": labels,
            "position_ids": torch.cat([torch.arange(length) for length in lengths])[None],
            **self.borders(lengths),
        }
        if self.names_scored:
            batch[SCORED] = scored_positions(labels, self.multiple)
        if "weights" in rows[0]:
            batch["weights"] = _joined(rows, "weights", filler, 0.0).float()
        return batch


def _joined(rows: list[dict[str, Any]], name: str, filler: int, filling: float) -> torch.Tensor:
    return torch.from_numpy(
        np.concatenate([*(row[name] for row in rows), np.full(filler, filling)])
    )[None]


def cumulative_lengths(lengths: list[int]) -> dict[str, Any]:
    """As transformers' attention functions take them."""
    borders = torch.tensor([0, *accumulate(lengths)], dtype=torch.int32)
    return {
        "cu_seq_lens_q": borders,
        "cu_seq_lens_k": borders,
        "max_length_q": max(lengths),
        "max_length_k": max(lengths),
    }


def count_tokens(batch: dict[str, Any]) -> torch.Tensor:
    """Those of a batch's samples, on its device, flat or padded. A sample without a label, the last
    one of a flat batch, is a filler."""
    trained = batch["labels"].ne(UNTRAINED)
    if "attention_mask" in batch:
        return batch["attention_mask"].sum() * trained.any()
    number = batch["position_ids"].eq(0).cumsum(dim=-1)
    last = number.eq(number[:, -1:])
    return batch["input_ids"].numel() - last.sum() * last.logical_and(trained).any().logical_not()
