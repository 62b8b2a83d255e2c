"""How much GPU memory a run is planned to take: enough to decide whether two may share a GPU; what it really takes is told at each step."""

from __future__ import annotations

import math
from pathlib import Path

from models.registry import read_config
from models.weights import tensor_shapes
from trainer.recipe import Recipe

_CONTEXT_BYTES = 1 << 30  # CUDA's context, cuBLAS workspaces, fragmentation
_ADAPTER_BYTES = 16  # a weight, its gradient and Adam's two moments, in 32 bits each
_LOGIT_BYTES = 10  # a logit in 16 bits, in 32, and its gradient
_LOGIT_TOKENS = 4096


def least_bytes(directory: Path, recipe: Recipe) -> int:
    """What no setting of the batch changes: the weights in 16 bits, the adapter with its optimizer, the context."""
    shapes = [(name, shape) for path in directory.glob("*.safetensors") for name, shape in tensor_shapes(path).items()]
    weights = 2 * sum(math.prod(shape) for _, shape in shapes)
    linear = [shape for name, shape in shapes if len(shape) == 2 and "embed" not in name and "lm_head" not in name]
    return weights + _ADAPTER_BYTES * recipe.lora.r * sum(map(sum, linear)) + _CONTEXT_BYTES


def planned_bytes(directory: Path, recipe: Recipe, micro_batch: int) -> int:
    """The same with activations and logits of a micro-batch of the longest samples.

    A layer keeps about ten hidden and four inner vectors a token in 16 bits (after Korthikanti et al. 2022, arXiv:2205.05198, with
    attention that keeps no scores); with gradient checkpointing one hidden vector, and one layer's all at a time.
    """
    config = read_config(directory)
    text = config.get("text_config", config)
    hidden, layers = int(text.get("hidden_size", 4096)), int(text.get("num_hidden_layers", 32))
    inner = int(text.get("intermediate_size", 4 * hidden))
    tokens = micro_batch * recipe.train.max_length
    layer = 2 * tokens * (10 * hidden + 4 * inner)
    kept = layer + layers * 2 * tokens * hidden if recipe.train.gradient_checkpointing not in ("auto", "none") else layers * layer
    logits = _LOGIT_BYTES * min(tokens, _LOGIT_TOKENS) * int(text.get("vocab_size", 0))
    return least_bytes(directory, recipe) + kept + logits
