"""What Luthier mends in vLLM, in each of its processes: vLLM calls `register` there, by the entry
point in pyproject.toml.

vLLM 0.32 on a CPU marks the base model's tokens with the adapter index -1 and then takes
weights[-1], the adapter in the last slot. A base answer that is computed beside a tuned one would
be the tuned model's as soon as every slot is taken.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

_OPERATIONS = ("bgmv_shrink", "bgmv_expand", "bgmv_expand_slice")


def register() -> None:
    from vllm.platforms import current_platform

    if current_platform.is_cpu():
        from vllm.lora.ops.torch_ops import lora_ops
        from vllm.lora.punica_wrapper import punica_cpu

        for name in _OPERATIONS:
            operation = getattr(lora_ops, name)
            if not hasattr(operation, "spares_base_tokens"):
                sparing = spare_base_tokens(operation)
                setattr(lora_ops, name, sparing)
                setattr(punica_cpu, name, sparing)


def spare_base_tokens(operation: Callable[..., None]) -> Callable[..., None]:
    """The operation with zeros for inputs (tokens, width) whose adapter index (tokens,) is
    negative: no adapter adds anything to them."""

    def spared(
        inputs: Any, weights: Any, output: Any, indices: Any, *rest: Any, **more: Any
    ) -> None:
        operation(
            inputs.masked_fill((indices < 0).unsqueeze(1), 0),
            weights,
            output,
            indices,
            *rest,
            **more,
        )

    spared.spares_base_tokens = True  # type: ignore[attr-defined]
    return spared
