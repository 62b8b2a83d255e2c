"""A home of its own for each test of serving."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def luthier_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("LUTHIER_HOME", str(home))
    return home


def write_tensors(path: Path, shapes: dict[str, list[int]]) -> None:
    """A safetensors file of zeros."""
    header: dict[str, object] = {}
    end = 0
    for name, shape in shapes.items():
        start, end = end, end + 2 * shape[0] * shape[1]
        header[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [start, end]}
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + bytes(end))


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """A base model of one matrix, enough for a plan."""
    directory = tmp_path / "tiny"
    directory.mkdir()
    (directory / "config.json").write_text(
        json.dumps({"architectures": ["LlamaForCausalLM"], "max_position_embeddings": 8192})
    )
    (directory / "tokenizer.json").write_text("{}")
    write_tensors(
        directory / "model.safetensors", {"model.layers.0.self_attn.q_proj.weight": [8, 6]}
    )
    return directory


def write_adapter(directory: Path, rank: int = 4, width: int = 6) -> Path:
    """An adapter for `base`, if `width` is its own."""
    directory.mkdir(parents=True)
    module = "base_model.model.model.layers.0.self_attn.q_proj"
    shapes = {f"{module}.lora_A.weight": [rank, width], f"{module}.lora_B.weight": [8, rank]}
    write_tensors(directory / "adapter_model.safetensors", shapes)
    (directory / "adapter_config.json").write_text(
        json.dumps({"peft_type": "LORA", "r": rank, "base_model_name_or_path": "tiny"})
    )
    return directory
