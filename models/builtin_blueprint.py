"""What the built-in model will be, before it is prepared: a folder with its config and the headers
of its weights, so that a run can be planned at once. There is no weight in it. Light."""

from __future__ import annotations

import json
import shutil
import struct
import tempfile
from pathlib import Path
from typing import Any

from jobs.home import models_directory

_FOLDER = ".builtin-blueprint"
_HIDDEN, _INNER, _LAYERS, _KEYS, _VOCABULARY = 576, 1536, 30, 192, 49152
_CONFIG: dict[str, Any] = {
    "architectures": ["LlamaForCausalLM"],
    "bos_token_id": 1,
    "dtype": "bfloat16",
    "eos_token_id": 2,
    "head_dim": 64,
    "hidden_size": _HIDDEN,
    "intermediate_size": _INNER,
    "max_position_embeddings": 8192,
    "model_type": "llama",
    "num_attention_heads": 9,
    "num_hidden_layers": _LAYERS,
    "num_key_value_heads": 3,
    "tie_word_embeddings": True,
    "vocab_size": _VOCABULARY,
}
_LAYER: dict[str, list[int]] = {
    "input_layernorm": [_HIDDEN],
    "mlp.down_proj": [_HIDDEN, _INNER],
    "mlp.gate_proj": [_INNER, _HIDDEN],
    "mlp.up_proj": [_INNER, _HIDDEN],
    "post_attention_layernorm": [_HIDDEN],
    "self_attn.k_proj": [_KEYS, _HIDDEN],
    "self_attn.o_proj": [_HIDDEN, _HIDDEN],
    "self_attn.q_proj": [_HIDDEN, _HIDDEN],
    "self_attn.v_proj": [_KEYS, _HIDDEN],
}


def blueprint_directory() -> Path:
    """The folder, made if it is not there. Its weight file has a header and nothing else; it is as
    long as the real one, and takes no room on the disk."""
    folder = models_directory() / _FOLDER
    if (folder / "config.json").is_file():
        return folder
    models_directory().mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=f"{_FOLDER}-", dir=models_directory()))
    header, length = _header()
    with (partial / "model.safetensors").open("wb") as file:
        file.write(struct.pack("<Q", len(header)) + header)
        file.truncate(8 + len(header) + length)
    (partial / "config.json").write_text(json.dumps(_CONFIG, indent=2), encoding="utf-8")
    try:
        partial.rename(folder)
    except OSError:  # somebody else was quicker: theirs is the same
        shutil.rmtree(partial, ignore_errors=True)
    return folder


def _header() -> tuple[bytes, int]:
    """The header of a safetensors file with the model's tensors, and the bytes of all of them."""
    shapes = {"model.embed_tokens": [_VOCABULARY, _HIDDEN], "model.norm": [_HIDDEN]}
    for layer in range(_LAYERS):
        shapes |= {f"model.layers.{layer}.{name}": shape for name, shape in _LAYER.items()}
    tensors, offset = {}, 0
    for name, shape in shapes.items():
        end = offset + 2 * shape[0] * (shape[1] if len(shape) > 1 else 1)
        tensors[f"{name}.weight"] = {
            "dtype": "BF16",
            "shape": shape,
            "data_offsets": [offset, end],
        }
        offset = end
    return json.dumps(tensors).encode(), offset
