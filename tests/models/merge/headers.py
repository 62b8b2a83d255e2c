"""Models and adapters of the right shapes, written without torch; their values are zeros or of a
pattern."""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

SIZES = {"F32": 4, "BF16": 2, "F16": 2, "U8": 1, "I64": 8, "F8_E4M3": 1}
PREFIX = "base_model.model."
Q = "model.layers.0.self_attn.q_proj"


def write_weights(
    path: Path,
    shapes: Mapping[str, tuple[int, ...]],
    dtypes: dict[str, str] | None = None,
    fill: bytes = b"\0",
) -> None:
    """A whole safetensors file; every tensor is float32 unless `dtypes` names another type."""
    header, offset = {}, 0
    for name, shape in shapes.items():
        dtype = (dtypes or {}).get(name, "F32")
        size = math.prod(shape) * SIZES[dtype]
        header[name] = {
            "dtype": dtype,
            "shape": list(shape),
            "data_offsets": [offset, offset + size],
        }
        offset += size
    text = json.dumps(header).encode()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(struct.pack("<Q", len(text)) + text + (fill * offset)[:offset])


def write_base(
    folder: Path,
    *,
    tied: bool = False,
    dtypes: dict[str, str] | None = None,
    more: Any = None,
    **config: Any,
) -> Path:
    """A Llama of one layer: hidden 8, vocabulary 20; q_proj is (12, 8)."""
    shapes = {
        "model.embed_tokens.weight": (20, 8),
        f"{Q}.weight": (12, 8),
        f"{Q}.bias": (12,),
        "model.norm.weight": (8,),
    }
    write_weights(
        folder / "model.safetensors",
        {**shapes, **({} if tied else {"lm_head.weight": (20, 8)}), **(more or {})},
        dtypes,
    )
    settings = {"model_type": "llama", "tie_word_embeddings": tied, "vocab_size": 20, **config}
    (folder / "config.json").write_text(json.dumps(settings))
    return folder


def lora(
    module: str = Q, rank: int = 4, inside: int = 8, outside: int = 12
) -> Mapping[str, tuple[int, ...]]:
    return {
        f"{PREFIX}{module}.lora_A.weight": (rank, inside),
        f"{PREFIX}{module}.lora_B.weight": (outside, rank),
    }


def write_adapter(
    folder: Path,
    shapes: Mapping[str, tuple[int, ...]] | None = None,
    dtypes: dict[str, str] | None = None,
    **config: Any,
) -> Path:
    write_weights(
        folder / "adapter_model.safetensors", lora() if shapes is None else shapes, dtypes
    )
    settings = {
        "peft_type": "LORA",
        "r": 4,
        "lora_alpha": 8,
        "base_model_name_or_path": "/base",
        "bias": "none",
        **config,
    }
    (folder / "adapter_config.json").write_text(json.dumps(settings))
    return folder
