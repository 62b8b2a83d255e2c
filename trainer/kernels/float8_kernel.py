"""The kernel that quantises a matrix by rows: one reading of it, where compiled torch takes three
times as long (bench/gpu/float8.py)."""

from __future__ import annotations

import torch
import triton  # type: ignore[import-untyped]
import triton.language as tl  # type: ignore[import-untyped]

_WIDE = 4096  # columns: a wider row takes more warps
_TILE = 2048  # columns of a row that is read twice, the second time from the cache


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


def swiglu_rows(
    gate_and_up: torch.Tensor, dtype: torch.dtype, least: float, largest: float
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """silu(gate) * up, (n, k), of `gate_and_up` side by side, (n, 2 k) and contiguous; and the same
    quantised by rows."""
    count, width = gate_and_up.shape[0], gate_and_up.shape[1] // 2
    product = gate_and_up.new_empty((count, width))
    values = gate_and_up.new_empty((count, width), dtype=dtype)
    scales = gate_and_up.new_empty((count, 1), dtype=torch.float32)
    _swiglu_row[(count,)](
        gate_and_up, product, values, scales, width, least, largest, BLOCK=_TILE, num_warps=8
    )
    return product, values, scales


def swiglu_gradient_rows(
    gradient: torch.Tensor,
    gate_and_up: torch.Tensor,
    dtype: torch.dtype,
    least: float,
    largest: float,
) -> tuple[torch.Tensor, torch.Tensor]:
    """From the `gradient` (n, k) of silu(gate) * up, in its place that product, and in the place of
    `gate_and_up` (n, 2 k) its gradient, which is returned quantised by rows. Both contiguous."""
    count, width = gradient.shape
    values = torch.empty_like(gate_and_up, dtype=dtype)
    scales = gradient.new_empty((count, 1), dtype=torch.float32)
    _swiglu_gradient_row[(count,)](
        gradient, gate_and_up, values, scales, width, least, largest, BLOCK=_TILE, num_warps=8
    )
    return values, scales


@triton.jit
def _write_scaled(numbers, values, scale, width, BLOCK: tl.constexpr):  # type: ignore[no-untyped-def]
    for start in range(0, width, BLOCK):
        places = start + tl.arange(0, BLOCK)
        inside = places < width
        scaled = tl.load(numbers + places, mask=inside, other=0.0).to(tl.float32) / scale
        tl.store(values + places, scaled.to(values.dtype.element_ty), mask=inside)


@triton.jit
def _swiglu_row(  # type: ignore[no-untyped-def]
    gate_and_up, product, values, scales, width, least, largest, BLOCK: tl.constexpr
):
    row = tl.program_id(0).to(tl.int64)
    gate = gate_and_up + row * width * 2
    up = gate + width
    product += row * width
    sizes = tl.zeros((BLOCK,), tl.float32)
    for start in range(0, width, BLOCK):
        places = start + tl.arange(0, BLOCK)
        inside = places < width
        gated = tl.load(gate + places, mask=inside, other=0.0).to(tl.float32)
        factor = tl.load(up + places, mask=inside, other=0.0)
        numbers = (gated * tl.sigmoid(gated)).to(factor.dtype) * factor
        tl.store(product + places, numbers, mask=inside)
        sizes = tl.maximum(sizes, tl.abs(numbers.to(tl.float32)))
    scale = tl.maximum(tl.max(sizes, 0), least) / largest
    tl.debug_barrier()  # other threads of this program have written what is read again
    _write_scaled(product, values + row * width, scale, width, BLOCK)
    tl.store(scales + row, scale)


@triton.jit
def _swiglu_gradient_row(  # type: ignore[no-untyped-def]
    gradient, gate_and_up, values, scales, width, least, largest, BLOCK: tl.constexpr
):
    row = tl.program_id(0).to(tl.int64)
    gradient += row * width
    gate = gate_and_up + row * width * 2
    up = gate + width
    sizes = tl.zeros((BLOCK,), tl.float32)
    for start in range(0, width, BLOCK):
        places = start + tl.arange(0, BLOCK)
        inside = places < width
        slope = tl.load(gradient + places, mask=inside, other=0.0)
        gated = tl.load(gate + places, mask=inside, other=0.0).to(tl.float32)
        factor = tl.load(up + places, mask=inside, other=0.0)
        sigmoid = tl.sigmoid(gated)
        silu = (sigmoid * gated).to(factor.dtype)
        of_gate = (slope * factor).to(tl.float32) * sigmoid * (1.0 + gated * (1.0 - sigmoid))
        of_gate = of_gate.to(factor.dtype)
        of_up = slope * silu
        tl.store(gradient + places, silu * factor, mask=inside)
        tl.store(gate + places, of_gate, mask=inside)
        tl.store(up + places, of_up, mask=inside)
        sizes = tl.maximum(sizes, tl.abs(of_gate.to(tl.float32)))
        sizes = tl.maximum(sizes, tl.abs(of_up.to(tl.float32)))
    scale = tl.maximum(tl.max(sizes, 0), least) / largest
    tl.debug_barrier()
    _write_scaled(gate, values + row * width * 2, scale, width * 2, BLOCK)
    tl.store(scales + row, scale)
