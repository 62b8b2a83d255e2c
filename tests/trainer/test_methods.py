"""What the methods' keys of a recipe refuse, by name, and what they mean for the plan."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from jobs.luthier_error import LuthierError
from trainer.plan import methods
from trainer.plan.compute import Compute
from trainer.recipe import Lora, Recipe, Tokens, Train, load


@pytest.fixture
def base(tmp_path: Path) -> Path:
    folder = tmp_path / "base"
    folder.mkdir()
    names = (
        "embed_tokens",
        "layers.0.self_attn.q_proj",
        "layers.0.mlp.up_proj",
        "layers.1.self_attn.q_proj",
        "layers.1.mlp.up_proj",
    )
    tensors: dict[str, np.ndarray] = {
        f"model.{name}.weight": np.zeros((4, 4), np.float32) for name in names
    }
    save_file(
        {**tensors, "model.norm.weight": np.ones(4, np.float32)}, folder / "model.safetensors"
    )
    tokenizer = {"model": {"vocab": {"a": 0}}, "added_tokens": [{"id": 1, "content": "<|im_end|>"}]}
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    return folder


@pytest.fixture
def nothing_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)


def recipe(
    train: dict[str, Any] | None = None,
    lora: dict[str, Any] | None = None,
    tokens: dict[str, Any] | None = None,
) -> Recipe:
    return Recipe(
        data=["x.jsonl"],
        train=Train(**train or {}),
        lora=Lora(**lora or {}),
        tokens=Tokens(**tokens or {}),
    )


@pytest.mark.parametrize(
    ("train", "lora", "message"),
    [
        ({"method": "full", "base_bits": 4}, {}, "cannot be trained themselves"),
        ({"method": "full", "base_bits": 8}, {}, "cannot be trained themselves"),
        ({"method": "full"}, {"plus_ratio": 16.0}, r"lora\.plus_ratio has no effect"),
        ({"method": "full"}, {"dora": True}, r"lora\.dora has no effect"),
        ({"gradient_checkpointing": "unsloth"}, {}, "needs the engine Unsloth"),
        ({}, {"targets": []}, "an empty list"),
        ({}, {"targets": ["q_proj", "k_proj"]}, "'k_proj' is not a linear layer"),
        ({}, {"targets": ["embed_tokens"]}, "'embed_tokens' is not a linear layer"),
        ({"attention": "flash"}, {}, "needs GPU kernels"),
        ({"base_bits": 4}, {}, "needs bitsandbytes, which is not installed"),
        ({"optimizer": "paged_adamw_8bit"}, {}, "needs bitsandbytes, which is not installed"),
    ],
)
def test_what_does_not_go_together_is_named(
    base: Path, nothing_installed: None, train: dict[str, Any], lora: dict[str, Any], message: str
) -> None:
    with pytest.raises(LuthierError, match=message):
        methods.check(recipe(train, lora), base, "trl", "cpu")


def test_flash_attention_is_installed_or_refused(base: Path, nothing_installed: None) -> None:
    with pytest.raises(LuthierError) as refused:
        methods.check(recipe({"attention": "flash"}), base, "trl", "gpu")
    assert "pip install flash-attn" in refused.value.hint


def test_a_target_is_a_layer_s_name_or_its_end_and_the_layers_are_told(base: Path) -> None:
    methods.check(recipe(lora={"targets": ["q_proj", "layers.1.mlp.up_proj"]}), base, "trl", "cpu")
    with pytest.raises(LuthierError) as refused:
        methods.check(recipe(lora={"targets": ["proj"]}), base, "trl", "cpu")
    assert refused.value.hint == "Its linear layers are q_proj, up_proj."


def test_what_unsloth_cannot_train_is_trl_s(base: Path) -> None:
    chatml = recipe(tokens={"template": "chatml"})
    assert methods.new_tokens(chatml, base) == ["<|im_start|>"]
    for one in (chatml, recipe(lora={"dora": True})):
        assert methods.unsloth_cannot(one, base)
    for one in (
        recipe(),
        recipe(tokens={"add": ["<|im_end|>"]}),
        recipe(lora={"plus_ratio": 16.0, "rslora": True}),
    ):
        assert not methods.unsloth_cannot(one, base)
        methods.check(one, base, "unsloth", "gpu")


def test_what_serving_will_be_like_is_told(base: Path) -> None:
    assert methods.consequences(recipe(), base) == []
    (told,) = methods.consequences(recipe(lora={"dora": True}, tokens={"add": ["<x>"]}), base)
    assert "new tokens and DoRA, so Luthier merges it before serving" in told
    (told,) = methods.consequences(recipe({"method": "full"}), base)
    assert "the result is a whole model" in told


def test_the_bits_of_the_base(base: Path) -> None:
    assert [
        methods.base_bits(recipe(train))
        for train in ({}, {"base_bits": 8}, {"method": "full"}, {"method": "full", "base_bits": 16})
    ] == [
        16,
        8,
        32,
        16,
    ]


def test_a_template_s_path_is_the_recipe_s(tmp_path: Path) -> None:
    path = tmp_path / "recipe.toml"
    path.write_text('data = ["x.jsonl"]\n[tokens]\nadd = ["<x>"]\ntemplate = "chat.jinja"\n')
    assert load(path).tokens == Tokens(["<x>"], str(tmp_path / "chat.jinja"))
    path.write_text('data = ["x.jsonl"]\n[tokens]\ntemplate = "chatml"\n')
    assert load(path).tokens.wanted == ["<|im_start|>", "<|im_end|>"]


# ---- float8


@pytest.mark.parametrize(
    ("train", "capability", "expected"),
    [
        ({}, (9, 0), (False, True)),
        ({}, (8, 9), (False, True)),
        ({}, (0, 0), (False,)),
        ({}, None, (False,)),
        ({"float8": False}, (9, 0), (False,)),
        ({"float8": True}, (8, 9), (True,)),
        ({"float8": True}, None, (True,)),
    ],
)
def test_float8_is_open_where_it_can_be(
    train: dict[str, Any], capability: tuple[int, int] | None, expected: tuple[bool, ...]
) -> None:
    assert methods.float8(recipe(train), Compute(), capability) == expected


@pytest.mark.parametrize(
    ("train", "lora", "compute", "capability", "why"),
    [
        ({"method": "full"}, {}, Compute(base_bits=32), (9, 0), "none is frozen"),
        ({"base_bits": 4}, {}, Compute(base_bits=4), (9, 0), "the base is in 4 bits"),
        ({}, {"dora": True}, Compute(), (9, 0), "DoRA needs the norms"),
        ({}, {}, Compute(shards=2), (9, 0), "FSDP2 cannot shard"),
        ({}, {}, Compute(), (8, 6), r"compute capability 8\.6, and float8 needs"),
        ({}, {}, Compute(), (0, 0), "does not report"),
    ],
)
def test_what_cannot_be_in_float8_is_not_and_says_so_if_asked(
    train: dict[str, Any],
    lora: dict[str, Any],
    compute: Compute,
    capability: tuple[int, int],
    why: str,
) -> None:
    assert methods.float8(recipe(train, lora), compute, capability) == (False,)
    with pytest.raises(LuthierError, match=why):
        methods.float8(recipe({**train, "float8": True}, lora), compute, capability)
