"""What a run is planned to take of a GPU."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from jobs.gpus import Gpu
from jobs.home import models_directory
from tests.tui import folders
from trainer import memory, plan
from trainer.launch import run_spec
from trainer.recipe import Recipe

GIB = 1 << 30


@pytest.fixture
def llama(tmp_path: Path) -> Path:
    """The headers of a model of the shape of Llama 3.1 8B."""
    hidden, inner, layers, vocabulary, keys = 4096, 14336, 32, 128_256, 1024
    config = {"hidden_size": hidden, "intermediate_size": inner, "num_hidden_layers": layers, "vocab_size": vocabulary}
    (tmp_path / "config.json").write_text(json.dumps(config))
    shapes = {"model.embed_tokens.weight": [vocabulary, hidden], "lm_head.weight": [vocabulary, hidden]}
    for layer in range(layers):
        for name, shape in {"q": [hidden, hidden], "k": [keys, hidden], "v": [keys, hidden], "o": [hidden, hidden]}.items():
            shapes[f"model.layers.{layer}.self_attn.{name}_proj.weight"] = shape
        for name, shape in {"gate": [inner, hidden], "up": [inner, hidden], "down": [hidden, inner]}.items():
            shapes[f"model.layers.{layer}.mlp.{name}_proj.weight"] = shape
    header = json.dumps({name: {"dtype": "BF16", "shape": shape, "data_offsets": [0, 0]} for name, shape in shapes.items()}).encode()
    (tmp_path / "model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header)
    return tmp_path


def recipe(**train: Any) -> Recipe:
    return msgspec.convert({"data": ["x.jsonl"], "train": train}, Recipe)


def test_an_8b_model_takes_what_it_is_known_to_take(llama: Path) -> None:
    assert 15.5 * GIB < memory.least_bytes(llama, recipe()) < 18 * GIB  # 8.03 billion weights of 2 bytes, 42 million of 16, the context
    small = memory.planned_bytes(llama, recipe(max_length=2048, gradient_checkpointing="standard"), 1)
    assert 17 * GIB < small < 24 * GIB  # it trains on a card of 24 GB


def test_more_at_once_takes_more_and_checkpointing_less(llama: Path) -> None:
    one, two = (memory.planned_bytes(llama, recipe(), batch) for batch in (1, 2))
    assert memory.least_bytes(llama, recipe()) < one < two
    assert memory.planned_bytes(llama, recipe(gradient_checkpointing="standard"), 2) < one


def test_a_run_says_what_it_needs_of_a_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LUTHIER_HOME", str(tmp_path))
    monkeypatch.setattr(plan, "gpus", lambda: [Gpu(0, "H", 80 * GIB, 80 * GIB)])
    folders.base_model(models_directory() / "builtin")
    (tmp_path / "data.jsonl").write_text('{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}\n')
    alone = Recipe(data=[str(tmp_path / "data.jsonl")])
    shared = run_spec(msgspec.structs.replace(alone, share_gpu=True))
    assert shared.share_gpu and not run_spec(alone).share_gpu
    assert GIB < run_spec(alone).gpu_bytes < shared.gpu_bytes <= 76 * GIB
