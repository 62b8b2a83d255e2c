"""What a tensor of the merged model is made of."""

from __future__ import annotations

import math
from dataclasses import dataclass

from models.merge.experts import Experts
from models.weights import TensorEntry

ITEM_SIZE = {"F32": 4, "F16": 2, "BF16": 2}


@dataclass(frozen=True)
class Lora:
    """A low-rank change: scale * B@A, with A (rank, in) and B (out, rank). `magnitude` (out,) makes
    it DoRA.

    `transposed`: the weight is (in, out), as Conv1D has it, and embeddings, whose "in" is the
    vocabulary.
    """

    a: TensorEntry
    b: TensorEntry
    scale: float
    transposed: bool
    magnitude: TensorEntry | None = None
    experts: Experts | None = None
    """Which part of it the weight takes, where A and B are those of all experts of a layer."""


@dataclass(frozen=True)
class Rows:
    """Rows trained as a whole: `values` (n, width) take the places `indices`."""

    values: TensorEntry
    indices: tuple[int, ...]


@dataclass(frozen=True)
class Make:
    """How values come about: those of `source`, then `rows`, then `lora`; `shift` is a tensor and
    its factor, added to a bias."""

    source: TensorEntry
    lora: Lora | None = None
    rows: Rows | None = None
    shift: tuple[TensorEntry, float] | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """The source's shape; longer if rows behind its end were trained."""
        if self.rows is None:
            return self.source.shape
        return (max(self.source.shape[0], 1 + max(self.rows.indices)), *self.source.shape[1:])


@dataclass(frozen=True)
class Piece:
    """One tensor of the merged model.

    `base` is what the base model has in its place (for the head of a tied model: its input
    embedding), None if nothing. It lies in the base's file at this place, unless the piece is
    `added`. `quantised`: the base's values pass through the 4-bit form that the adapter saw.
    `dropped`: the base's tensor is left out, because the merged model does not need it.
    """

    name: str
    make: Make
    base: TensorEntry | None
    dtype: str
    added: bool = False
    quantised: bool = False
    dropped: bool = False

    @property
    def shape(self) -> tuple[int, ...]:
        return self.make.shape

    @property
    def size(self) -> int:
        """In bytes, as written."""
        if self.dropped:
            return 0
        return (
            math.prod(self.shape) * ITEM_SIZE[self.dtype]
            if self.dtype in ITEM_SIZE
            else self.make.source.size
        )

    @property
    def made(self) -> str:
        """How it comes about, as the receipt says it."""
        lora = self.make.lora
        steps = {
            "dequantised": self.quantised,
            "saved": self.make.source is not self.base,
            "dora": lora is not None and lora.magnitude is not None,
            "lora": lora is not None and lora.magnitude is None,
            "bias": self.make.shift is not None,
            "rows": self.make.rows is not None,
        }
        return "+".join(step for step, applies in steps.items() if applies) or "copied"
