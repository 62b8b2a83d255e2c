"""Attention over conversations behind each other, on a GPU: by FlashAttention 4's kernels where
they are installed and have proved on this GPU that they compute the same, else by torch's.

Both are called without torch's `varlen_attn`, a custom operator whose Python costs as much as a
small batch's kernel.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable
from functools import cache
from typing import Any

import torch

from jobs.home import home

Attention = Callable[..., torch.Tensor]
_FLASH4_CAPABILITIES = (9, 10)  # Hopper and data-centre Blackwell
_FLASH4_SIZES = (64, 128)  # of a head
_TOLERANCE = 0.01  # of the norm; bfloat16 keeps 8 bits, so two right kernels are 0.003 apart
_PROBE_LENGTHS = (200, 1, 129, 70)
_FLASH4_TOKENS = 6000  # below, its Python takes longer than it saves on the GPU (8B, H200)


def varlen(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    cu_seq_q: torch.Tensor,
    cu_seq_k: torch.Tensor,
    max_q: int,
    max_k: int,
    *,
    scale: float | None = None,
    window_size: tuple[int, int] = (-1, -1),
    enable_gqa: bool = True,
) -> torch.Tensor:
    """In the place of torch's varlen_attn: shapes are (tokens, heads, size), `cu_seq_q` and
    `cu_seq_k` the borders of the conversations, which are the same. There may be fewer heads of
    keys than of queries, whatever `enable_gqa`, which is there because torch's function has it."""
    kernel = torch_kernel
    if len(query) >= _FLASH4_TOKENS:
        kernel = kernel_for(query.device, query.shape[1], key.shape[1], query.shape[2], query.dtype)
    return kernel(query, key, value, cu_seq_q, max_q, scale, window_size)


def lend_to_unsloth(dispatch: Any) -> None:
    """Have Unsloth compute the attention of flat batches so, given its `attention_dispatch`.

    Its own ways are torch's custom operator or, in newer versions, `_LEAN_VARLEN`. And unless vLLM
    is installed, whose import switches cuDNN's attention off, it takes long conversations one by
    one, for each of whose lengths cuDNN makes a plan: 2.6 times as slow (8B, H200)."""
    if hasattr(dispatch, "_TORCH_VARLEN_ATTN"):
        dispatch._TORCH_VARLEN_ATTN = varlen
        dispatch._LEAN_VARLEN = False
        dispatch._torch_varlen_beats_segments = lambda query, _key, lengths, *_: (
            sum(lengths) == query.shape[-2]
        )


@cache
def kernel_for(
    device: torch.device, heads: int, key_heads: int, size: int, dtype: torch.dtype
) -> Attention:
    """The quickest that is right, for causal attention over many tokens."""
    capability = torch.cuda.get_device_capability(device)
    if capability[0] not in _FLASH4_CAPABILITIES or size not in _FLASH4_SIZES:
        return torch_kernel
    try:
        flash4 = _flash4()
    except ModuleNotFoundError as error:
        if not (error.name or "").startswith("flash_attn"):  # it is there, and what it needs is not
            warnings.warn(f"FlashAttention 4 lacks a package: {error}", stacklevel=2)
        return torch_kernel
    except Exception as error:  # noqa: BLE001 - it loads libraries of the driver's version
        warnings.warn(f"FlashAttention 4 cannot be loaded: {error}", stacklevel=2)
        return torch_kernel
    try:
        close = _computes_the_same(flash4, device, heads, key_heads, size, dtype)
    except Exception as error:  # noqa: BLE001 - it compiles for this GPU
        warnings.warn(f"FlashAttention 4 does not run on this GPU: {error}", stacklevel=2)
        return torch_kernel
    if not close:
        warnings.warn("FlashAttention 4 is wrong on this GPU and is not used", stacklevel=2)
    return flash4 if close else torch_kernel


def torch_kernel(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    borders: torch.Tensor,
    longest: int,
    scale: float | None,
    window_size: tuple[int, int],
) -> torch.Tensor:
    """FlashAttention 2, which torch brings."""
    output: torch.Tensor = _TorchFlash.apply(
        query, key, value, borders, longest, scale, window_size
    )
    return output


class _TorchFlash(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        borders: torch.Tensor,
        longest: int,
        scale: float | None,
        window_size: tuple[int, int],
    ) -> torch.Tensor:
        ctx.options = {
            "scale": scale,
            "window_size_left": window_size[0],
            "window_size_right": window_size[1],
        }
        ctx.longest, ctx.causal = longest, window_size == (-1, 0)
        output, normaliser, seed, offset, _ = torch.ops.aten._flash_attention_forward(
            query, key, value, borders, borders, longest, longest, 0.0, ctx.causal,
            return_debug_mask=False, **ctx.options,
        )  # fmt: skip
        ctx.save_for_backward(query, key, value, borders, output, normaliser, seed, offset)
        answer: torch.Tensor = output
        return answer

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        query, key, value, borders, output, normaliser, seed, offset = ctx.saved_tensors
        gradients = torch.ops.aten._flash_attention_backward(
            gradient.contiguous(), query, key, value, output, normaliser, borders, borders,
            ctx.longest, ctx.longest, 0.0, ctx.causal, seed, offset, **ctx.options,
        )  # fmt: skip
        return *gradients, None, None, None, None


@cache
def _flash4() -> Attention:
    # It compiles for a quarter of a minute, and would keep that in /tmp, where others can write.
    os.environ["FLASH_ATTENTION_CUTE_DSL_CACHE_ENABLED"] = "1"
    os.environ.setdefault(
        "FLASH_ATTENTION_CUTE_DSL_CACHE_DIR", str(home() / "cache" / "flash-attention")
    )
    from flash_attn.cute import flash_attn_varlen_func

    def kernel(
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        borders: torch.Tensor,
        longest: int,
        scale: float | None,
        window_size: tuple[int, int],
    ) -> torch.Tensor:
        plain = window_size == (-1, 0)
        output = flash_attn_varlen_func(
            query,
            key,
            value,
            cu_seqlens_q=borders,
            cu_seqlens_k=borders,
            max_seqlen_q=longest,
            max_seqlen_k=longest,
            softmax_scale=scale,
            causal=plain,
            window_size=(None, None)
            if plain
            else tuple(None if side < 0 else side for side in window_size),
        )
        return output[0] if isinstance(output, tuple) else output

    return kernel


def _computes_the_same(
    kernel: Attention,
    device: torch.device,
    heads: int,
    key_heads: int,
    size: int,
    dtype: torch.dtype,
) -> bool:
    """Whether the answers and gradients of some short conversations are torch's."""
    drawn = torch.Generator(device).manual_seed(0)
    tokens = sum(_PROBE_LENGTHS)
    borders = torch.tensor(
        [0, *torch.tensor(_PROBE_LENGTHS).cumsum(0).tolist()], dtype=torch.int32, device=device
    )

    def random(count: int) -> torch.Tensor:
        return torch.randn(tokens, count, size, device=device, generator=drawn, dtype=dtype)

    query, key, value, incoming = random(heads), random(key_heads), random(key_heads), random(heads)

    def outcome(attention: Attention) -> list[torch.Tensor]:
        leaves = [tensor.detach().clone().requires_grad_() for tensor in (query, key, value)]
        with torch.enable_grad():
            answer = attention(*leaves, borders, max(_PROBE_LENGTHS), None, (-1, 0))
            answer.backward(incoming)
        return [answer.detach(), *(leaf.grad for leaf in leaves if leaf.grad is not None)]

    return all(
        float((ours - theirs).float().norm() / theirs.float().norm()) < _TOLERANCE
        for ours, theirs in zip(outcome(kernel), outcome(torch_kernel), strict=True)
    )
