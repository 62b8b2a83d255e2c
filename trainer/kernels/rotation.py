"""Rotary position embeddings (Su et al. 2021, arXiv:2104.09864) of a flat batch's queries and keys,
in the place of Unsloth's.

Unsloth copies both before it turns them and their gradients twice after, for attention has the
tokens outermost and its kernel the heads. Here each is read once where it lies, and written as
attention reads it: 3.6 ms of a step of an 8B model rather than 14.2, and no copies
(bench/gpu/RESULTS.md). For workers whose process has Unsloth.
"""

from __future__ import annotations

import functools
from typing import Any

import torch

from trainer.kernels.unsloth_functions import Function, replace_in_models


def use_rotation() -> None:
    """Have Unsloth's models in this process turn flat batches so."""
    replace_in_models("fast_rope_embedding", of_flat_batches)


def of_flat_batches(usual: Function) -> Function:
    """Unsloth's function, with ours for the batches that it can turn."""

    @functools.wraps(usual)
    def turned(
        query: torch.Tensor,
        key: torch.Tensor,
        cos: torch.Tensor,
        sin: torch.Tensor,
        positions: torch.Tensor | None = None,
    ) -> Any:
        if positions is None or not _is_flat(query, cos):
            return usual(query, key, cos, sin, positions)
        cos, sin = cos.squeeze(), sin.squeeze()
        return _Rotated.apply(query, key, cos, sin, positions.reshape(-1))

    return turned


def _is_flat(query: torch.Tensor, cos: torch.Tensor) -> bool:
    """Whether the batch is one row and all of each head is turned. Triton's blocks need a power
    of two."""
    size = query.shape[-1]
    turns_all = cos.shape[-1] == size and size & (size - 1) == 0
    return len(query) == 1 and turns_all and not torch.compiler.is_compiling()


class _Rotated(torch.autograd.Function):
    """`query` and `key` are (1, heads, tokens, size), `cos` and `sin` (positions, size),
    `positions` (tokens,)."""

    @staticmethod
    def forward(
        ctx: Any,
        query: torch.Tensor,
        key: torch.Tensor,
        cos: torch.Tensor,
        sin: torch.Tensor,
        positions: torch.Tensor,
    ) -> tuple[torch.Tensor, ...]:
        ctx.angles = cos, sin, positions
        return rotate(query, key, *ctx.angles, backwards=False)

    @staticmethod
    def backward(
        ctx: Any, of_query: torch.Tensor, of_key: torch.Tensor
    ) -> tuple[torch.Tensor | None, ...]:
        return *rotate(of_query, of_key, *ctx.angles, backwards=True), None, None, None


def rotate(
    query: torch.Tensor,
    key: torch.Tensor,
    cos: torch.Tensor,
    sin: torch.Tensor,
    positions: torch.Tensor,
    *,
    backwards: bool,
) -> tuple[torch.Tensor, ...]:
    """New tensors of the same shapes; in memory the tokens come first, then the heads."""
    queries, keys = query[0].transpose(0, 1), key[0].transpose(0, 1)
    if query.is_cuda:
        from trainer.kernels.rotation_kernel import rotate  # Triton is only where CUDA is

        rotated = rotate(queries, keys, cos, sin, positions, backwards=backwards)
    else:
        sines = -sin[positions] if backwards else sin[positions]
        rotated = [_rotate_by_torch(heads, cos[positions], sines) for heads in (queries, keys)]
    return tuple(heads.transpose(0, 1)[None] for heads in rotated)


def _rotate_by_torch(heads: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    """`heads` are (tokens, heads, size); `cos` and `sin` (tokens, size), their halves equal."""
    low, high = heads.float().chunk(2, -1)
    cosine, sine = (angle.float().chunk(2, -1)[0][:, None] for angle in (cos, sin))
    return torch.cat((low * cosine - high * sine, high * cosine + low * sine), -1).to(heads.dtype)
