"""What of a base model decides how much memory its training takes. Light: only config.json and the
headers of the weight files are read."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from models.folder import ModelFolder
from models.weights import tensor_shapes, weight_files
from trainer.plan.lora_targets import ALL_LINEAR, is_target

_GATES, _UPS = ("gate_proj", "w1"), ("up_proj", "w3")

# Architectures whose layers Unsloth computes with kernels of its own; others it compiles, and they
# keep what transformers keeps.
FUSED = frozenset({"llama", "mistral", "gemma", "gemma2", "qwen2", "qwen3"})


@dataclass(frozen=True)
class Linear:
    """A weight matrix, by the end of its name ("q_proj"): `inputs` columns, `outputs` rows."""

    name: str
    inputs: int
    outputs: int
    of_experts: bool = False
    """Whether it is that of one expert of a mixture."""

    @property
    def count(self) -> int:
        return self.inputs * self.outputs


@dataclass(frozen=True)
class ModelShape:
    """The sizes of a model. Widths count numbers a token."""

    family: str
    hidden: int
    """The width between the layers."""
    inner: int
    """The width in a feed-forward layer; of a mixture of experts those that are active."""
    layers: int
    queries: int
    """The width in all heads together; of `keys` as well."""
    keys: int
    vocabulary: int
    linears: tuple[Linear, ...]
    """The matrices in the layers."""
    outside: int
    """The weights of embeddings, head and norms, which no quantisation makes smaller."""

    @property
    def inside(self) -> int:
        """The weights that quantisation makes smaller."""
        return sum(linear.count for linear in self.linears)

    @property
    def parameters(self) -> int:
        """All weights."""
        return self.inside + self.outside

    @property
    def largest(self) -> int:
        """The weights of the largest matrix."""
        return max((linear.count for linear in self.linears), default=0)

    def adapted(self, targets: str | Sequence[str], *, experts: bool) -> list[Linear]:
        """The matrices that LoRA is put on. "all-linear" does not mean those of experts, which
        `experts` does."""
        with_experts = experts or targets != ALL_LINEAR
        return [
            linear
            for linear in self.linears
            if (experts and linear.of_experts)
            or (is_target(linear.name, targets) and (with_experts or not linear.of_experts))
        ]

    def adapter_width(self, targets: str | Sequence[str], *, experts: bool) -> int:
        """The numbers in an adapter of rank 1. An expert's gate and up are one matrix to PEFT."""
        adapted = self.adapted(targets, experts=experts)
        gates = any(linear.of_experts and linear.name in _GATES for linear in adapted)
        return sum(
            linear.outputs
            + (0 if gates and linear.of_experts and linear.name in _UPS else linear.inputs)
            for linear in adapted
        )


def read_shape(directory: Path) -> ModelShape | None:
    """The shape of a model's folder; None for a model whose config does not tell it as most do (one
    without attention, say)."""
    model = ModelFolder(directory)
    config = model.text_config
    hidden, layers, heads = (
        config.get(key) for key in ("hidden_size", "num_hidden_layers", "num_attention_heads")
    )
    if not (hidden and layers and heads):
        return None
    head = int(config.get("head_dim") or hidden // heads)
    linears, outside = [], 0
    for path in weight_files(directory):
        for name, shape in tensor_shapes(path).items():
            linears_of_weight = _linears(name, shape)
            linears += linears_of_weight
            outside += 0 if linears_of_weight else math.prod(shape)
    return ModelShape(
        family=str(model.config.get("model_type", "")),
        hidden=int(hidden),
        inner=_inner(config, int(hidden)),
        layers=int(layers),
        queries=int(heads) * head,
        keys=int(config.get("num_key_value_heads") or heads) * head,
        vocabulary=model.vocabulary_size or 0,
        linears=tuple(linears),
        outside=outside,
    )


def _linears(name: str, shape: list[int]) -> list[Linear]:
    """The matrices in a tensor of this name: one, or of the experts of a layer all, or none. A
    convolution's tensor has one channel in the middle."""
    parts = name.removesuffix(".weight").split(".")
    if len(shape) < 2 or any(
        part in ("lm_head", "embed_tokens", "wte", "wpe") or "embed" in part for part in parts
    ):
        return []
    *experts, outputs, inputs = shape
    if experts and outputs == 1:
        return []
    of_experts = bool(experts) or "experts" in parts
    return [Linear(parts[-1], inputs, outputs, of_experts)] * math.prod(experts)


def _inner(config: dict[str, Any], hidden: int) -> int:
    active = config.get("num_experts_per_tok")
    if active and config.get("moe_intermediate_size"):
        return int(active) * int(config["moe_intermediate_size"]) + int(
            config.get("shared_expert_intermediate_size") or 0
        )
    width = config.get("intermediate_size") or 4 * hidden
    widest = max(width) if isinstance(width, list) else width  # Gemma 3n names that of each layer
    return int(widest) * int(active or 1)
