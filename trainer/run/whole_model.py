"""The weights of a model that was trained as a whole, from its checkpoint into the base's own
types. Heavy: for workers."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file

from jobs import foreign_json
from models.merge.config_files import INDEX
from models.weights import tensor_entries, weight_files

_TYPES = {"BF16": torch.bfloat16, "F16": torch.float16, "F32": torch.float32}


def write_weights(trained: Path, base: Path, folder: Path) -> None:
    """File by file, so that one of them is in memory at a time. Training kept them in float32, or
    in bfloat16 where the recipe says so."""
    types = {
        entry.name: _TYPES.get(entry.dtype, torch.bfloat16)
        for path in weight_files(base)
        for entry in tensor_entries(path)
    }
    size = 0
    for path in weight_files(trained):
        with safe_open(path, framework="pt") as file:
            tensors = {
                name: file.get_tensor(name).to(types.get(name, torch.bfloat16))
                for name in file.keys()  # noqa: SIM118 - no mapping
            }
        size += sum(tensor.nbytes for tensor in tensors.values())
        save_file(tensors, folder / path.name, metadata={"format": "pt"})
    if (trained / INDEX).is_file():
        where = foreign_json.read_object(trained / INDEX)["weight_map"]
        (folder / INDEX).write_text(
            json.dumps({"metadata": {"total_size": size}, "weight_map": where}, indent=2),
            encoding="utf-8",
        )
