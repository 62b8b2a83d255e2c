"""Adapters: what vLLM takes, and what belongs to another model."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import pytest

from jobs.luthier_error import LuthierError
from models.adapters import check_servable, lora_rank_limit, other_base, read_adapter
from models.registry import list_models, prepare_builtin, resolve, valid_name
from models.weights import tensor_shapes

PLAIN = {
    "peft_type": "LORA",
    "r": 8,
    "base_model_name_or_path": "/base",
    "bias": "none",
    "init_lora_weights": True,
}
PROJECTION = "model.layers.0.self_attn.q_proj"


def write_weights(path: Path, shapes: dict[str, list[int]]) -> None:
    """A safetensors file of the right header and no data: shapes are all that is read."""
    header = json.dumps(
        {
            name: {"dtype": "F32", "shape": shape, "data_offsets": [0, 0]}
            for name, shape in shapes.items()
        }
    ).encode()
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(struct.pack("<Q", len(header)) + header)


@pytest.fixture
def base(tmp_path: Path) -> Path:
    write_weights(tmp_path / "base" / "model.safetensors", {f"{PROJECTION}.weight": [64, 32]})
    (tmp_path / "base" / "config.json").write_text("{}")
    return tmp_path / "base"


def adapter(
    folder: Path, module: str = PROJECTION, inside: int = 32, outside: int = 64, **config: Any
) -> Path:
    shapes = {
        f"base_model.model.{module}.lora_A.weight": [8, inside],
        f"base_model.model.{module}.lora_B.weight": [outside, 8],
    }
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
def test_what_vllm_refuses_is_told_before(
    tmp_path: Path, base: Path, config: dict[str, Any], name: str
) -> None:
    with pytest.raises(LuthierError, match=name):
        check_servable(read_adapter(adapter(tmp_path / "a", **config)), base)


@pytest.mark.parametrize(
    "shape", [{"inside": 48}, {"outside": 48}, {"module": "transformer.h.0.attn"}]
)
def test_an_adapter_of_another_model_is_told(
    tmp_path: Path, base: Path, shape: dict[str, Any]
) -> None:
    with pytest.raises(LuthierError, match="belongs to another model"):
        check_servable(read_adapter(adapter(tmp_path / "a", **shape)), base)


@pytest.mark.parametrize(
    ("prefix", "module", "suffix", "words"),
    [
        (
            "base_model.model.",
            PROJECTION.replace("model.", "model.language_model.", 1),
            "",
            "'language_model'",
        ),
        ("base_model.model.base_model.model.", PROJECTION, "", "'base_model.model'"),
        ("base_model.model.", PROJECTION, ".default", "'default'"),
        ("base_model.model._orig_mod.", PROJECTION, "", "'_orig_mod'"),
        ("base_model.model.module.", PROJECTION, "", "'module'"),
    ],
)
def test_tensors_that_are_named_otherwise_are_no_other_model(
    tmp_path: Path, base: Path, prefix: str, module: str, suffix: str, words: str
) -> None:
    folder = adapter(tmp_path / "a")
    shapes = {
        f"{prefix}{module}.lora_A{suffix}.weight": [8, 32],
        f"{prefix}{module}.lora_B{suffix}.weight": [64, 8],
    }
    write_weights(folder / "adapter_model.safetensors", shapes)
    with pytest.raises(LuthierError, match=f"once {words} is removed from their names") as refused:
        check_servable(read_adapter(folder), base)
    assert "another model" not in str(refused.value)
    write_weights(folder / "adapter_model.safetensors", {name: [8, 48] for name in shapes})
    with pytest.raises(LuthierError, match="another model"):
        check_servable(read_adapter(folder), base)


@pytest.mark.parametrize(
    ("said", "noted"),
    [
        ("acme/Other-1B", True),
        ("/elsewhere/other", True),
        ("", False),
        ("{base}", False),
        ("/home/of/somebody/base", False),
        ("acme/Base", False),
        ("unsloth/base-unsloth-bnb-4bit", False),
        ("acme/As-Published", False),
        ("acme/From-The-Hub", False),
        ("/home/jobs/20261122-1530-captain-7f3a/merged", True),
    ],
)
def test_an_adapter_that_says_it_is_of_another_model_is_noted(
    tmp_path: Path, base: Path, said: str, noted: bool
) -> None:
    (base / "config.json").write_text(json.dumps({"_name_or_path": "acme/as-published"}))
    (base / "card.json").write_text(json.dumps({"source": "hub:acme/from-the-hub"}))
    said = said.replace("{base}", str(base))
    found = read_adapter(adapter(tmp_path / "a", base_model_name_or_path=said))
    check_servable(found, base)
    assert bool(note := other_base(found, base)) == noted
    assert not noted or (f"names {said} as its base, not {base}" in note)


def test_a_runs_own_model_is_told_from_anothers(tmp_path: Path) -> None:
    merged = tmp_path / "20261122-1530-captain-7f3a" / "merged"
    merged.mkdir(parents=True)
    (merged / "config.json").write_text("{}")
    for said, noted in (
        (str(merged), False),
        (f"/old/{merged.parent.name}/merged", False),
        ("/old/other-run/merged", True),
    ):
        assert (
            bool(
                other_base(
                    read_adapter(adapter(tmp_path / "a", base_model_name_or_path=said)), merged
                )
            )
            == noted
        )


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


def test_models_are_found_by_name_and_path_and_bad_names_lead_nowhere(
    tmp_path: Path, base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
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
