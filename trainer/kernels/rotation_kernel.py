"""The kernel that turns queries and keys by their positions (trainer.kernels.rotation)."""

from __future__ import annotations

import torch
import triton  # type: ignore[import-untyped]
import triton.language as tl  # type: ignore[import-untyped]

_HEADS = 16  # at once


def rotate(
    query: torch.Tensor,
    key: torch.Tensor,
    cos: torch.Tensor,
    sin: torch.Tensor,
    positions: torch.Tensor,
    *,
    backwards: bool,
) -> list[torch.Tensor]:
    """`query` and `key` (tokens, heads, size), turned by the angles of their `positions` (tokens,)
    in `cos` and `sin` (positions, size), contiguous. `backwards`: by minus these angles."""
    if query.stride(-1) != 1 or key.stride(-1) != 1:
        query, key = query.contiguous(), key.contiguous()
    outputs = [
        torch.empty(heads.shape, dtype=heads.dtype, device=heads.device) for heads in (query, key)
    ]
    _rotate_token[(len(query),)](
        query, *query.stride()[:2], query.shape[1], outputs[0],
        key, *key.stride()[:2], key.shape[1], outputs[1],
        cos, sin, cos.stride(0), positions,
        HALF=query.shape[2] // 2, HEADS=_HEADS, SIGN=-1 if backwards else 1, num_warps=4,
    )  # fmt: skip
    return outputs


@triton.jit
def _rotate_token(  # type: ignore[no-untyped-def]
    query, query_token, query_head, query_heads, new_query,
    key, key_token, key_head, key_heads, new_key,
    cos, sin, angle_row, positions,
    HALF: tl.constexpr, HEADS: tl.constexpr, SIGN: tl.constexpr,
):  # fmt: skip
    token = tl.program_id(0).to(tl.int64)
    angles = tl.load(positions + token) * angle_row + tl.arange(0, HALF)
    cosine = tl.load(cos + angles).to(tl.float32)
    sine = tl.load(sin + angles).to(tl.float32) * SIGN
    query += token * query_token
    new_query += token * query_heads * 2 * HALF
    _rotate_heads(query, query_head, query_heads, new_query, cosine, sine, HALF, HEADS)
    key += token * key_token
    new_key += token * key_heads * 2 * HALF
    _rotate_heads(key, key_head, key_heads, new_key, cosine, sine, HALF, HEADS)


@triton.jit
def _rotate_heads(  # type: ignore[no-untyped-def]
    source, source_head, heads, target, cosine, sine, HALF: tl.constexpr, HEADS: tl.constexpr
):
    places = tl.arange(0, HALF)[None, :]
    cosine = cosine[None, :]
    sine = sine[None, :]
    for first in range(0, heads, HEADS):
        head = first + tl.arange(0, HEADS)[:, None]
        inside = head < heads
        numbers = source + head * source_head + places
        low = tl.load(numbers, mask=inside, other=0.0).to(tl.float32)
        high = tl.load(numbers + HALF, mask=inside, other=0.0).to(tl.float32)
        row = target + head * 2 * HALF + places
        tl.store(row, (low * cosine - high * sine).to(target.dtype.element_ty), mask=inside)
        tl.store(row + HALF, (high * cosine + low * sine).to(target.dtype.element_ty), mask=inside)
