"""Shapes of models whose memory has been measured, and folders with their headers."""

from __future__ import annotations

import json
from pathlib import Path

from trainer.plan.memory.shape import ModelShape, read_shape

_SIZES = {"8b": (4096, 14336, 32, 1024, 128_256), "135m": (576, 1536, 30, 192, 49_152)}


def llama(folder: Path, size: str = "8b", family: str = "llama") -> Path:
    """A folder with the config and the weight headers of a Llama of that size."""
    hidden, inner, layers, keys, vocabulary = _SIZES[size]
    config = {
        "model_type": family,
        "hidden_size": hidden,
        "intermediate_size": inner,
        "num_hidden_layers": layers,
        "num_attention_heads": hidden // 64,
        "num_key_value_heads": keys // 64,
        "vocab_size": vocabulary,
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "tokenizer.json").write_text("{}")
    shapes = {
        "model.embed_tokens.weight": [vocabulary, hidden],
        "lm_head.weight": [vocabulary, hidden],
        "model.norm.weight": [hidden],
    }
    for layer in range(layers):
        for name, shape in {
            "q": [hidden, hidden],
            "k": [keys, hidden],
            "v": [keys, hidden],
            "o": [hidden, hidden],
        }.items():
            shapes[f"model.layers.{layer}.self_attn.{name}_proj.weight"] = shape
        for name, shape in {
            "gate": [inner, hidden],
            "up": [inner, hidden],
            "down": [hidden, inner],
        }.items():
            shapes[f"model.layers.{layer}.mlp.{name}_proj.weight"] = shape
        for name in ("input", "post_attention"):
            shapes[f"model.layers.{layer}.{name}_layernorm.weight"] = [hidden]
    header = json.dumps(
        {
            name: {"dtype": "BF16", "shape": shape, "data_offsets": [0, 0]}
            for name, shape in shapes.items()
        }
    ).encode()
    (folder / "model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header)
    return folder


def shape_of(folder: Path) -> ModelShape:
    shape = read_shape(folder)
    assert shape is not None
    return shape
