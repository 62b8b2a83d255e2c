"""Merging LoRA on experts, against PEFT's own merge: files with a matrix for each expert, and with
all of a layer's in one tensor, whichever way that lies."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from models.merge.merging import merge
from models.merge.plan import plan_merge
from tests.models.merge import small

pytestmark = [pytest.mark.real, pytest.mark.timeout(120)]
_SIZE = {
    "vocab_size": 64,
    "hidden_size": 32,
    "intermediate_size": 48,
    "moe_intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "num_experts": 4,
    "num_local_experts": 4,
    "num_experts_per_tok": 2,
}
BOTH = ["experts.gate_up_proj", "experts.down_proj"]


@pytest.mark.parametrize(
    ("kind", "targets", "changes"),
    [
        ("qwen3_moe", BOTH, {}),
        ("qwen3_moe", BOTH[1:], {}),
        ("mixtral", BOTH[:1], {}),
        ("mixtral", BOTH, {"rank_pattern": {r".*\.down_proj": 5}}),
        ("gpt_oss", BOTH, {}),
        # as wide inside as outside: no shape says which way it lies
        ("gpt_oss", BOTH[1:], {"intermediate_size": 32}),
        ("llama4_text", BOTH, {"use_rslora": True}),
        ("granitemoe", BOTH, {}),
    ],
)
def test_as_peft_merges_it(
    kind: str, targets: list[str], changes: dict[str, Any], tmp_path: Path
) -> None:
    size = {key: value for key, value in changes.items() if key in _SIZE}
    torch.manual_seed(3)
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(kind, **{**_SIZE, **size}))
    model.save_pretrained(tmp_path / "base")
    other_changes = {key: value for key, value in changes.items() if key not in _SIZE}
    small.save_adapter(
        tmp_path / "base",
        tmp_path / "adapter",
        **{"target_modules": ["q_proj"], "target_parameters": targets, **other_changes},
    )
    expected = small.adapted_model(tmp_path / "base", tmp_path / "adapter").merge_and_unload()
    expected.save_pretrained(tmp_path / "expected")

    merge(
        plan_merge(tmp_path / "base", tmp_path / "adapter"), tmp_path / "merged", stops=lambda _: []
    )

    base, merged, by_peft = (
        small.weights(tmp_path / name) for name in ("base", "merged", "expected")
    )
    assert merged.keys() == by_peft.keys()
    for name, values in by_peft.items():
        torch.testing.assert_close(merged[name], values, rtol=1e-5, atol=1e-6, msg=name)
    changed = [name for name in base if not torch.equal(base[name], merged[name])]
    assert any("expert" in name or "linear" in name for name in changed)
