"""Adapters: what vLLM takes, and what belongs to another model."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import pytest

from jobs.errors import LuthierError
from models.adapters import check_servable, lora_rank_limit, read_adapter
from models.registry import list_models, prepare_builtin, resolve, valid_name
from models.weights import tensor_shapes

PLAIN = {"peft_type": "LORA", "r": 8, "base_model_name_or_path": "/base", "bias": "none", "init_lora_weights": True}
PROJECTION = "model.layers.0.self_attn.q_proj"


def write_weights(path: Path, shapes: dict[str, list[int]]) -> None:
    """A safetensors file of the right header and no data: shapes are all that is read."""
    header = json.dumps({name: {"dtype": "F32", "shape": shape, "data_offsets": [0, 0]} for name, shape in shapes.items()}).encode()
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(struct.pack("<Q", len(header)) + header)


@pytest.fixture
def base(tmp_path: Path) -> Path:
    write_weights(tmp_path / "base" / "model.safetensors", {f"{PROJECTION}.weight": [64, 32]})
    (tmp_path / "base" / "config.json").write_text("{}")
    return tmp_path / "base"


def adapter(folder: Path, module: str = PROJECTION, inside: int = 32, outside: int = 64, **config: Any) -> Path:
    shapes = {f"base_model.model.{module}.lora_A.weight": [8, inside], f"base_model.model.{module}.lora_B.weight": [outside, 8]}
    write_weights(folder / "adapter_model.safetensors", shapes)
    (folder / "adapter_config.json").write_text(json.dumps({**PLAIN, **config}))
    return folder


def test_a_plain_adapter_of_this_base(tmp_path: Path, base: Path) -> None:
    found = read_adapter(adapter(tmp_path / "a", rank_pattern={"q_proj": 40}))
    assert found.rank == 40
    assert lora_rank_limit(found.rank) == 64
    check_servable(found, base)


@pytest.mark.parametrize(
    ("config", "name"),
    [
        ({"use_dora": True}, "use_dora"),
        ({"modules_to_save": ["lm_head"]}, "modules_to_save"),
        ({"trainable_token_indices": [1]}, "trainable_token_indices"),
        ({"bias": "all"}, "bias='all'"),
        ({"init_lora_weights": "pissa_niter_4"}, "pissa_niter_4"),
    ],
)
def test_what_vllm_refuses_is_told_before(tmp_path: Path, base: Path, config: dict[str, Any], name: str) -> None:
    with pytest.raises(LuthierError, match=name):
        check_servable(read_adapter(adapter(tmp_path / "a", **config)), base)


@pytest.mark.parametrize("shape", [{"inside": 48}, {"outside": 48}, {"module": "transformer.h.0.attn"}])
def test_an_adapter_of_another_model_is_told(tmp_path: Path, base: Path, shape: dict[str, Any]) -> None:
    with pytest.raises(LuthierError, match="belongs to another model"):
        check_servable(read_adapter(adapter(tmp_path / "a", **shape)), base)


def test_folders_that_are_no_adapter(tmp_path: Path) -> None:
    with pytest.raises(LuthierError, match=r"adapter_config\.json"):
        read_adapter(tmp_path)
    folder = adapter(tmp_path / "a")
    for content in ("{", "{}", '{"r": "x"}', '{"peft_type": "IA3", "r": 1}'):
        (folder / "adapter_config.json").write_text(content)
        with pytest.raises(LuthierError):
            read_adapter(folder)


def test_ranks_above_the_limit() -> None:
    assert [lora_rank_limit(rank) for rank in (1, 2, 16, 17, 512)] == [1, 8, 16, 32, 512]
    with pytest.raises(LuthierError, match="512"):
        lora_rank_limit(513)


@pytest.mark.parametrize("content", [b"", b"\x01", b"\xff" * 20, struct.pack("<Q", 5) + b"[]{}x"])
def test_broken_weight_files(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "w.safetensors").write_bytes(content)
    with pytest.raises(LuthierError, match=r"w\.safetensors"):
        tensor_shapes(tmp_path / "w.safetensors")


def test_models_are_found_by_name_and_path_and_bad_names_lead_nowhere(tmp_path: Path, base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LUTHIER_HOME", str(tmp_path / "home"))
    (base / "tokenizer.json").write_text("{}")
    (tmp_path / "home" / "models").mkdir(parents=True)
    (tmp_path / "home" / "models" / "mine").symlink_to(base)
    assert [model.name for model in list_models()] == ["builtin", "mine"]
    assert list_models()[1].parameters == 64 * 32
    assert resolve(str(base)) == base
    assert resolve("mine").resolve() == base
    for name in ("nix", "../base", "builtin", "."):
        with pytest.raises(LuthierError):
            resolve(name)
    for name in ("../x", "", "a/b", ".hidden", "-x"):
        with pytest.raises(LuthierError):
            valid_name(name)


def test_a_missing_builtin_file_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LUTHIER_HOME", str(tmp_path))
    monkeypatch.setenv("LUTHIER_BUILTIN_GGUF", str(tmp_path / "nix.gguf"))
    with pytest.raises(LuthierError, match=r"nix\.gguf"):
        prepare_builtin()
