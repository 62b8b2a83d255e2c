"""Measures which number type this CPU multiplies a model's weights in more quickly. Heavy: for
workers."""

from __future__ import annotations

import time
from pathlib import Path

import torch

from models.compute_dtype import DtypeSpeed, matrix_shapes, recall, remember

# Rows of the inputs: as many as a small batch of conversations has.
_ROWS = 256
_PASSES = 3
# weights of a matrix; of a larger one, an embedding above all, a part is measured
_LARGEST = 16 << 20


def known_or_measured(directory: Path) -> DtypeSpeed:
    """What was measured before, or now is. It takes about a second."""
    speed = recall(directory)
    if speed is None:
        speed = measure(directory)
        remember(directory, speed)
    return speed


def measure(directory: Path) -> DtypeSpeed:
    """Multiply matrices of each shape that the model in `directory` has, forward and backward, in
    both types by turns: another program on the machine then slows both."""
    seconds = dict.fromkeys((torch.bfloat16, torch.float32), 0.0)
    for rows, columns in matrix_shapes(directory):
        part = min(rows, max(1, _LARGEST // columns))
        best = dict.fromkeys(seconds, float("inf"))
        for _ in range(_PASSES):
            for dtype in best:
                best[dtype] = min(best[dtype], _product_seconds(part, columns, dtype))
        for dtype in seconds:
            seconds[dtype] += best[dtype]
    return DtypeSpeed(bfloat16=seconds[torch.bfloat16], float32=seconds[torch.float32])


@torch.no_grad()
def _product_seconds(rows: int, columns: int, dtype: torch.dtype) -> float:
    """Of a layer's forward product and the backward one for its input, the second time that they
    are computed."""
    weight = torch.ones(rows, columns, dtype=dtype)
    inputs, gradients = (
        torch.ones(_ROWS, columns, dtype=dtype),
        torch.ones(_ROWS, rows, dtype=dtype),
    )
    began = 0.0
    for _ in range(2):
        began = time.perf_counter()
        torch.nn.functional.linear(inputs, weight)
        torch.mm(gradients, weight)
    return time.perf_counter() - began
