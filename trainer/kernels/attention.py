"""Attention of flat batches for transformers' models: within each conversation, without the dense
mask that `sdpa` would need.

On a GPU one kernel does it (trainer.kernels.varlen), elsewhere one call of
scaled_dot_product_attention a conversation. Whatever is not a flat batch, the answers of an
evaluation above all, goes to transformers' own `sdpa`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import repeat_kv, sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from trainer.kernels.varlen import varlen

if TYPE_CHECKING:
    from transformers import PreTrainedModel

NAME = "sdpa_by_conversation"
_KINDS = {"full_attention", "sliding_attention"}
_WIDEST_HEAD = 256  # the kernel's


def use_attention_by_conversation(model: PreTrainedModel) -> bool:
    """Have the model keep conversations apart by the `cu_seq_lens_q` of its batches. False, with
    the model as it was, if it attends in ways that this module does not know: transformers' dense
    mask then does it."""
    config = model.config.get_text_config()
    plain = (
        config._attn_implementation == "sdpa"
        and set(getattr(config, "layer_types", None) or ()) <= _KINDS
    )
    if not plain or getattr(config, "attn_logit_softcapping", None) is not None:
        return False
    AttentionInterface.register(NAME, by_conversation)
    AttentionMaskInterface.register(NAME, _mask)
    model.set_attn_implementation(NAME)
    return True


def by_conversation(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    *,
    scaling: float | None = None,
    dropout: float = 0.0,
    sliding_window: int | None = None,
    cu_seq_lens_q: torch.Tensor | None = None,
    max_length_q: int = 0,
    **keywords: Any,
) -> tuple[torch.Tensor, None]:
    """One of transformers' attention functions: (1, heads, tokens, size) in, (1, tokens, heads,
    size) out."""
    if cu_seq_lens_q is None:
        if attention_mask is not None and attention_mask.numel() == 0:
            raise ValueError("a flat batch without cu_seq_lens_q")
        output: tuple[torch.Tensor, None] = sdpa_attention_forward(
            module, query, key, value, attention_mask, scaling=scaling, dropout=dropout, **keywords
        )
        return output
    half = query.dtype in (torch.bfloat16, torch.float16)
    if query.is_cuda and half and not dropout and query.shape[-1] <= _WIDEST_HEAD:
        window = (-1 if sliding_window is None else sliding_window - 1, 0)
        query, key, value = (
            tensor.squeeze(0).transpose(0, 1).contiguous() for tensor in (query, key, value)
        )
        longest = max_length_q
        answer = varlen(
            query,
            key,
            value,
            cu_seq_lens_q,
            cu_seq_lens_q,
            longest,
            longest,
            scale=scaling,
            window_size=window,
        )
        return answer.unsqueeze(0), None
    groups = query.shape[1] // key.shape[1]
    tensors = (query, repeat_kv(key, groups), repeat_kv(value, groups))
    lengths = cu_seq_lens_q.diff().tolist()
    parts = zip(*(tensor.split(lengths, dim=2) for tensor in tensors), strict=True)
    answers = [
        _one(*part, scaling=scaling, dropout=dropout, sliding_window=sliding_window)
        for part in parts
    ]
    return torch.cat(answers, dim=2).transpose(1, 2).contiguous(), None


def _one(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    *,
    scaling: float | None,
    dropout: float,
    sliding_window: int | None,
) -> torch.Tensor:
    """Causal attention in one conversation."""
    length = query.shape[2]
    if sliding_window is None or length <= sliding_window:
        return scaled_dot_product_attention(
            query, key, value, dropout_p=dropout, scale=scaling, is_causal=True
        )
    places = torch.arange(length, device=query.device)
    back = places[:, None] - places[None, :]
    return scaled_dot_product_attention(
        query,
        key,
        value,
        attn_mask=(back >= 0) & (back < sliding_window),
        dropout_p=dropout,
        scale=scaling,
    )


def _mask(**arguments: Any) -> torch.Tensor | None:
    """transformers' mask for `sdpa`, but an empty tensor where that would be block-diagonal: it has
    found positions that begin anew."""
    packed = (
        arguments.get("attention_mask") is None
        and not arguments["allow_is_causal_skip"]
        and not arguments.get("use_vmap")
    )
    if packed and arguments["q_length"] == arguments["kv_length"]:
        return torch.empty(0, device=arguments["device"])
    mask: torch.Tensor | None = sdpa_mask(**arguments)
    return mask
