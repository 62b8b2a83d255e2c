"""The kernel that quantises a matrix by rows: one reading of it, where compiled torch takes three
times as long (bench/gpu/float8.py)."""

from __future__ import annotations

import torch
import triton  # type: ignore[import-untyped]
import triton.language as tl  # type: ignore[import-untyped]

_WIDE = 4096  # columns: a wider row takes more warps


def quantise_rows(
    matrix: torch.Tensor, dtype: torch.dtype, least: float, largest: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """`matrix` (n, k), contiguous, as values (n, k) of `dtype`, of which `largest` is the largest,
    and scales (n, 1) in float32, as if no row's largest number were below `least`."""
    count, width = matrix.shape
    values = torch.empty_like(matrix, dtype=dtype)
    scales = torch.empty((count, 1), dtype=torch.float32, device=matrix.device)
    block, warps = triton.next_power_of_2(width), 8 if width <= _WIDE else 16
    _quantise_row[(count,)](
        matrix, values, scales, width, least, largest, BLOCK=block, num_warps=warps
    )
    return values, scales


@triton.jit
def _quantise_row(matrix, values, scales, width, least, largest, BLOCK: tl.constexpr):  # type: ignore[no-untyped-def]
    row = tl.program_id(0).to(tl.int64)
    places = tl.arange(0, BLOCK)
    inside = places < width
    numbers = tl.load(matrix + row * width + places, mask=inside, other=0.0).to(tl.float32)
    scale = tl.maximum(tl.max(tl.abs(numbers), 0), least) / largest
    tl.store(
        values + row * width + places, (numbers / scale).to(values.dtype.element_ty), mask=inside
    )
    tl.store(scales + row, scale)
