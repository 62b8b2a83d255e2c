"""`python -m tests.real.joined_layers`: whether layers that Unsloth has taken over are taken over
from it, and given back while the adapters are off. A process of its own, for Unsloth must be
imported before transformers. On a CPU Unsloth takes over no layer itself, so its functions are put
in place here as it does on a GPU."""

from __future__ import annotations

import trainer.run.unsloth_environment  # noqa: F401

# isort: split
import types

import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoConfig, AutoModelForCausalLM
from unsloth.kernels.fast_lora import apply_lora_mlp_swiglu, apply_lora_o, apply_lora_qkv

from trainer.kernels.float8_layers import give_back_layers
from trainer.kernels.float8_model import use_float8

TARGETS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


def main() -> None:
    torch.manual_seed(3)
    sizes = {
        "hidden_size": 512,
        "intermediate_size": 768,
        "num_hidden_layers": 2,
        "num_attention_heads": 8,
        "num_key_value_heads": 4,
    }
    config = AutoConfig.for_model("llama", vocab_size=512, **sizes)
    model = get_peft_model(
        AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16),
        LoraConfig(r=8, target_modules=TARGETS, init_lora_weights=False, task_type="CAUSAL_LM"),
    )
    layers = model.base_model.model.model.layers
    for layer in layers:
        layer.self_attn.apply_qkv, layer.self_attn.apply_o = apply_lora_qkv, apply_lora_o
        layer.mlp.forward = types.MethodType(apply_lora_mlp_swiglu, layer.mlp)
    assert use_float8(model) == len(TARGETS) * len(layers)

    attention, mlp = layers[0].self_attn, layers[0].mlp
    inputs = torch.randn(1, 32, 512).bfloat16().requires_grad_()
    queries, keys, values = attention.apply_qkv(attention, inputs)
    for outputs, layer in (
        (queries, attention.q_proj),
        (keys, attention.k_proj),
        (values, attention.v_proj),
    ):
        assert apart(outputs, layer(inputs)) < 0.01
    assert apart(attention.apply_o(attention, inputs), attention.o_proj(inputs)) < 0.01
    usual = by_projections(mlp, inputs)
    assert apart(mlp(inputs), usual) < 0.02
    (mlp(inputs).sum() + queries.sum()).backward()
    assert inputs.grad is not None
    with model.disable_adapter(), torch.no_grad():
        plain = attention.apply_o(attention, inputs)
        assert torch.equal(plain, attention.o_proj(inputs))
    assert apart(attention.apply_o(attention, inputs), plain) > 0.1
    give_back_layers(model)
    assert attention.apply_qkv is apply_lora_qkv
    assert attention.apply_o is apply_lora_o


def by_projections(mlp: torch.nn.Module, inputs: torch.Tensor) -> torch.Tensor:
    """Unsloth's own kernel of SwiGLU is a GPU's."""
    outputs: torch.Tensor = mlp.down_proj(
        torch.nn.functional.silu(mlp.gate_proj(inputs)) * mlp.up_proj(inputs)
    )
    return outputs


def apart(first: torch.Tensor, other: torch.Tensor) -> float:
    return float((first - other).float().norm() / other.float().norm())


if __name__ == "__main__":
    main()
