"""Which layers of each architecture a LoRA goes on, and whether a run balances experts."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from bench.tiny_models import architecture
from trainer.plan.memory.shape import read_shape
from trainer.recipe import Lora, Recipe

if TYPE_CHECKING:
    from peft import PeftModel
    from transformers import PreTrainedModel

pytestmark = [pytest.mark.heavy, pytest.mark.xdist_group("transformers")]


def model_of(name: str) -> PreTrainedModel:
    """The architecture without values."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    config = AutoConfig.for_model(name, **architecture(name).size, vocab_size=64)
    with torch.device("meta"):
        return AutoModelForCausalLM.from_config(config)


def adapted(model: PreTrainedModel, lora: Lora) -> PeftModel:
    from peft import get_peft_model

    from trainer.run.loading import lora_config

    recipe = Recipe(data=["x"], model="x", lora=lora)
    return get_peft_model(model, lora_config(recipe, model), low_cpu_mem_usage=True)


@pytest.mark.parametrize(
    ("name", "trained", "left_alone"),
    [
        ("qwen3_moe", {"q_proj", "experts"}, {"gate"}),
        ("llama4_text", {"shared_expert.up_proj", "experts"}, {"router"}),
        ("gpt_oss", {"q_proj", "experts"}, {"router"}),
        ("glm4_moe", {"o_proj", "experts"}, {"gate"}),
        ("falcon_h1", {"mamba.in_proj", "o_proj"}, {"mamba.out_proj", "conv1d"}),
        ("granitemoehybrid", {"mamba.in_proj", "experts"}, {"mamba.out_proj", "router"}),
        ("nemotron_h", {"mixer.in_proj", "experts"}, {"mixer.out_proj", "gate"}),
        ("lfm2", {"conv.out_proj", "self_attn.out_proj"}, {"conv.conv"}),
        ("qwen3_5_text", {"linear_attn.out_proj"}, {"conv1d"}),
    ],
)
def test_every_linear_layer_that_lora_can_replace(
    name: str, trained: set[str], left_alone: set[str]
) -> None:
    lora = Lora(r=2, experts=bool(architecture(name).experts))
    layers = {
        tensor.partition(".lora_A")[0].removesuffix(".base_layer")
        for tensor, _ in adapted(model_of(name), lora).named_parameters()
        if ".lora_A" in tensor
    }
    for ending in trained:
        assert any(layer.endswith(f".{ending}") for layer in layers), (ending, layers)
    for ending in left_alone:
        assert not any(layer.endswith(f".{ending}") for layer in layers), (ending, layers)


@pytest.mark.parametrize(
    ("name", "balanced"),
    [
        ("qwen3_moe", True),
        ("gpt_oss", True),
        ("ernie4_5_moe", True),
        ("llama4_text", False),
        ("granitemoehybrid", False),
        ("deepseek_v3", False),
        ("qwen3", False),
    ],
)
def test_experts_are_balanced_only_if_the_router_is_trained(name: str, balanced: bool) -> None:
    from trainer.run.sft import _balances_experts

    model = model_of(name)
    assert _balances_experts(model) is balanced
    assert not _balances_experts(adapted(model, Lora(r=2)))


def test_targets_can_name_a_router() -> None:
    from trainer.run.sft import _balances_experts

    model = adapted(model_of("qwen3_moe"), Lora(r=2, targets=["q_proj", "gate"]))
    assert any(".gate.lora_A" in name for name, _ in model.named_parameters())
    assert _balances_experts(model)


@pytest.mark.parametrize("experts", [False, True])
@pytest.mark.parametrize("name", ["qwen3_moe", "mixtral", "gpt_oss", "llama4_text", "granitemoe"])
def test_the_plan_counts_what_is_trained(name: str, experts: bool, tmp_path: Path) -> None:
    """The adapter of a mixture, by the headers of its files, whichever way those have experts."""
    from transformers import AutoConfig, AutoModelForCausalLM

    size = architecture(name if name != "granitemoe" else "mixtral").size
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(name, **size, vocab_size=64))
    model.save_pretrained(tmp_path)
    shape = read_shape(tmp_path)
    assert shape is not None
    trained = sum(
        parameter.numel()
        for parameter in adapted(model, Lora(r=2, experts=experts)).parameters()
        if parameter.requires_grad
    )
    counted = 2 * shape.adapter_width("all-linear", experts=experts)
    # the router, which is small, is counted and not trained
    assert trained <= counted <= 1.15 * trained
