"""Peaks of GPU memory that were measured (peaks.jsonl), and what is predicted of them. Light.

    # the table of bench/RESULTS.md, with the errors of terms fitted without a setting
    python -m bench.gpu.peaks

`tokens` are those of the largest of the run's micro-batches, padding counted; `peak_gb` is
torch.cuda.max_memory_allocated().
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from trainer.plan.compute import Compute
from trainer.plan.memory.predict import Setting, predict
from trainer.plan.memory.shape import Linear, ModelShape

PEAKS = Path(__file__).with_name("peaks.jsonl")
_VOCABULARY = 128_256


@dataclass(frozen=True)
class Measured:
    source: str
    model: str
    engine: Literal["unsloth", "trl"]
    bits: int
    rank: int
    layout: str
    checkpointing: str
    optimizer: str
    conversations: int
    longest: int
    tokens: int
    peak_gb: float

    @property
    def setting(self) -> Setting:
        """The layout "by conversation" is Luthier's own; "flat" and "packed" are the bare engine's:
        with TRL a dense mask, with Unsloth and torch 2.11 segment by segment."""
        setting = Setting(
            engine=self.engine,
            tokens=self.tokens,
            compute=Compute(
                base_bits=self.bits,
                optimizer=self.optimizer,
                gradient_checkpointing=self.checkpointing,
                padding_free=self.layout != "padded",
            ),
            rows=self.conversations if self.layout == "padded" else 1,
            conversations=self.conversations,
            rank=self.rank,
        )
        if self.layout == "by conversation":
            return setting.holding(self.tokens, self.conversations)
        return replace(setting, sdpa_by="segment") if self.engine == "unsloth" else setting

    @property
    def predicted_gb(self) -> float:
        return predict(SHAPES[self.model], self.setting).peak / 1e9

    @property
    def error(self) -> float:
        return self.predicted_gb / self.peak_gb - 1

    def __str__(self) -> str:
        batch = f"{self.conversations} of at most {self.longest}"
        return (
            f"{self.engine}, {self.model}, {self.bits} bits, r {self.rank}, {self.checkpointing},"
            f" {self.layout}, {batch}, {self.tokens}"
        )


def llama(hidden: int, inner: int, layers: int, keys: int) -> ModelShape:
    """As bench/gpu/speed.py makes them: random weights in the shapes of Llama 3, head and
    embeddings apart."""
    sizes = {"q": (hidden, hidden), "k": (hidden, keys), "v": (hidden, keys), "o": (hidden, hidden)}
    feed = {"gate": (hidden, inner), "up": (hidden, inner), "down": (inner, hidden)}
    linears = tuple(Linear(f"{name}_proj", *size) for name, size in (sizes | feed).items()) * layers
    return ModelShape(
        "llama",
        hidden,
        inner,
        layers,
        hidden,
        keys,
        _VOCABULARY,
        linears,
        2 * _VOCABULARY * hidden + (2 * layers + 1) * hidden,
    )


SHAPES = {"8b": llama(4096, 14336, 32, 1024), "1b": llama(2048, 8192, 16, 512)}


def measured(path: Path = PEAKS) -> list[Measured]:
    return [Measured(**json.loads(line)) for line in path.read_text(encoding="utf-8").splitlines()]


def left_out(rows: list[Measured]) -> Iterator[tuple[Measured, float]]:
    """Each with the error that is left when it has had no say: what a layer keeps and what its
    backward pass needs besides are scaled to fit the other settings of that engine, by least
    squares of the relative errors."""
    for row in rows:
        other_rows = [other for other in rows if other.engine == row.engine and other is not row]
        kept, working = _scales(
            [
                (_kept(other), _working(other), other.peak_gb - _rest(other), other.peak_gb)
                for other in other_rows
            ]
        )
        yield row, (_rest(row) + kept * _kept(row) + working * _working(row)) / row.peak_gb - 1


def _scales(rows: list[tuple[float, float, float, float]]) -> tuple[float, float]:
    """x and y that bring x * kept + y * working closest to what they should be, each row weighed by
    its peak."""
    aa = sum(kept * kept / peak**2 for kept, _, _, peak in rows)
    ab = sum(kept * working / peak**2 for kept, working, _, peak in rows)
    bb = sum(working * working / peak**2 for _, working, _, peak in rows)
    ac = sum(kept * should / peak**2 for kept, _, should, peak in rows)
    bc = sum(working * should / peak**2 for _, working, should, peak in rows)
    determinant = aa * bb - ab * ab
    return (ac * bb - bc * ab) / determinant, (bc * aa - ac * ab) / determinant


def _kept(row: Measured) -> float:
    return predict(SHAPES[row.model], row.setting).activations / 1e9


def _working(row: Measured) -> float:
    return predict(SHAPES[row.model], row.setting).working / 1e9


def _rest(row: Measured) -> float:
    return row.predicted_gb - _kept(row) - _working(row)


def main() -> None:
    print(
        "| engine | base | checkpointing | layout | conversations | tokens | measured GB |"
        " predicted GB | error | fitted without it |"
    )
    print("|---|---|---|---|---|---|---|---|---|---|")
    for row, without in left_out(measured()):
        batch = f"{row.conversations} of at most {row.longest:,}"
        figures = (
            f"{row.tokens:,} | {row.peak_gb:.2f} | {row.predicted_gb:.2f} | {row.error:+.1%} |"
            f" {without:+.1%}"
        )
        print(
            f"| {row.engine} | {row.bits} bits | {row.checkpointing} | {row.layout} | {batch} |"
            f" {figures} |"
        )


if __name__ == "__main__":
    main()
