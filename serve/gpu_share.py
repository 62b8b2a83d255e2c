"""How much of a GPU a server takes: its share where the GPU is free, what is left where somebody
else uses it.

vLLM refuses to start if less is free than `--gpu-memory-utilization` of the whole, also where
`--kv-cache-memory-bytes` fixes the cache. On a GPU that is partly in use both are given: the share
that is free, and the cache that is left of it beside weights and working memory.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jobs.gpus import Gpu, occupants
from jobs.luthier_error import LuthierError
from models.folder import ModelFolder
from models.weights import tensor_shapes

_WORKING_BYTES = 2 << 30  # CUDA's context, activations and CUDA graphs
_SPARE_BYTES = 512 << 20  # what others may take between the look and the start
_BYTES_PER_WEIGHT = 2  # bfloat16 or float16


@dataclass(frozen=True)
class GpuShare:
    """`utilization` of each GPU's memory; `kv_cache_bytes` for each GPU, None where vLLM may
    measure it itself."""

    utilization: float
    kv_cache_bytes: int | None
    why: str


def gpu_share(
    gpus: Sequence[Gpu], asked_share: float, needed: Needed, context: int, beside_bytes: int = 0
) -> GpuShare:
    """The share of each of these GPUs. LuthierError if a model with one conversation of `context`
    tokens does not fit into what is free.

    `beside_bytes` are left to somebody who will take and free them while vLLM starts, so that
    vLLM may not measure what is left.
    """
    tightest = min(gpus, key=lambda gpu: gpu.free / gpu.total)
    free = tightest.free - beside_bytes
    fixed = needed.fixed_bytes // len(gpus) + _WORKING_BYTES
    conversation_bytes = needed.cache_bytes_per_token * context // len(gpus)
    partly = beside_bytes > 0 or free < asked_share * tightest.total + _SPARE_BYTES
    left = math.floor(100 * (free - _SPARE_BYTES) / tightest.total) / 100
    share = min(asked_share, left) if partly else asked_share
    room = int(share * tightest.total) - fixed
    if room < conversation_bytes:
        raise _no_room(tightest, share, fixed, conversation_bytes, context, partly)
    if not partly:
        return GpuShare(
            asked_share,
            None,
            f"{asked_share:.0%} of {_gigabytes(tightest.total)}; vLLM measures how much is left"
            " for conversations",
        )
    why = (
        f"{_gigabytes(tightest.free)} of {_gigabytes(tightest.total)} are free on GPU"
        f" {tightest.index} ({occupants(tightest.index)} use it)"
    )
    return GpuShare(share, room, why)


@dataclass(frozen=True)
class Needed:
    """What a model and the adapters beside it take on one GPU, in bytes."""

    weight_bytes: int
    adapter_bytes: int
    cache_bytes_per_token: int

    @property
    def fixed_bytes(self) -> int:
        return self.weight_bytes + self.adapter_bytes


def needed(base: Path, rank: int, adapters: int) -> Needed:
    """Told by the headers of the weights and the config. An adapter takes rank x (inputs + outputs)
    for each linear layer."""
    shapes = [
        shape for path in base.glob("*.safetensors") for shape in tensor_shapes(path).values()
    ]
    weights = sum(math.prod(shape) for shape in shapes)
    vocabulary = max((shape[0] for shape in shapes), default=0)
    linear = sum(sum(shape) for shape in shapes if len(shape) == 2 and shape[0] != vocabulary)
    model = ModelFolder(base)
    quantised = model.config.get("quantization_config") is not None
    weight_bytes = (
        sum(path.stat().st_size for path in base.glob("*.safetensors"))
        if quantised
        else _BYTES_PER_WEIGHT * weights
    )
    return Needed(
        weight_bytes,
        _BYTES_PER_WEIGHT * rank * linear * adapters,
        _cache_bytes_per_token(model.text_config),
    )


def _cache_bytes_per_token(text: dict[str, Any]) -> int:
    """Keys and values of every layer; 0 where the config does not tell."""
    layers, heads = (
        int(text.get("num_hidden_layers") or 0),
        int(text.get("num_attention_heads") or 1),
    )
    kept = int(text.get("num_key_value_heads") or heads)
    size = int(text.get("head_dim") or int(text.get("hidden_size") or 0) // heads)
    return 2 * layers * kept * size * _BYTES_PER_WEIGHT


def _no_room(
    gpu: Gpu, share: float, fixed: int, conversation_bytes: int, context: int, partly: bool
) -> LuthierError:
    used = f"; {occupants(gpu.index)} use the rest" if partly else ""
    message = (
        f"GPU {gpu.index} has {_gigabytes(gpu.free)} of {_gigabytes(gpu.total)} free{used}. The"
        f" server would get {max(0.0, share):.0%}, but weights, adapters and working memory need"
        f" {_gigabytes(fixed)}, and one conversation of {context:,} tokens needs"
        f" {_gigabytes(conversation_bytes)}."
    )
    hint = (
        "Use a shorter --context-length, --gpus 2 or --vllm=--quantization=fp8, which need less;"
        " or wait until the GPU is free."
    )
    return LuthierError("Not enough GPU memory", message, hint)


def _gigabytes(count: int) -> str:
    return f"{count / (1 << 30):.1f} GiB"
