"""Small models with random weights, adapters on them made by PEFT itself, and PEFT's own merge to
compare with."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file
from transformers import (
    AutoModelForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
    Qwen2Config,
    Qwen2ForCausalLM,
)

VOCABULARY = 150
_LLAMA = {
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
}


def llama(**settings: Any) -> PreTrainedModel:
    return LlamaForCausalLM(LlamaConfig(**{**_LLAMA, "vocab_size": VOCABULARY, **settings}))


def qwen(**settings: Any) -> PreTrainedModel:
    """With biases on the query, key and value projections."""
    return Qwen2ForCausalLM(
        Qwen2Config(**{**_LLAMA, "vocab_size": VOCABULARY, "tie_word_embeddings": True, **settings})
    )


def gpt2() -> PreTrainedModel:
    """Of Conv1D layers, some of them square; tied."""
    return GPT2LMHeadModel(
        GPT2Config(n_embd=48, n_layer=2, n_head=4, vocab_size=VOCABULARY, n_positions=32)
    )


BASES: dict[str, Callable[[], PreTrainedModel]] = {
    "tied": lambda: llama(tie_word_embeddings=True),
    "untied": lambda: llama(tie_word_embeddings=False),
    "biases": lambda: llama(tie_word_embeddings=False, attention_bias=True, mlp_bias=True),
    "qwen": qwen,
    "gpt2": gpt2,
}


def shake(model: torch.nn.Module, seed: int) -> None:
    """Give every weight values that a merge must not lose: no zeros, no equal biases."""
    dice = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(
                torch.randn(parameter.shape, generator=dice) * 0.05
                + (0.5 if parameter.ndim == 1 else 0.0)
            )


def save_base(
    kind: str, folder: Path, *, dtype: torch.dtype = torch.float32, shard: str = "60KB"
) -> Path:
    """A base model in several files."""
    model = BASES[kind]()
    shake(model, seed=1)
    model.to(dtype).save_pretrained(str(folder), max_shard_size=shard)
    return folder


def save_adapter(base: Path, folder: Path, *, rows: int | None = None, **settings: Any) -> Path:
    """An adapter of random weights: everything that is trained has moved. `rows` resizes the
    embeddings first."""
    model = AutoModelForCausalLM.from_pretrained(str(base), dtype=torch.float32)
    if rows is not None:
        torch.manual_seed(3)
        model.resize_token_embeddings(rows)
    adapted = get_peft_model(
        model,
        LoraConfig(
            **{
                "r": 4,
                "lora_alpha": 6,
                "task_type": "CAUSAL_LM",
                "init_lora_weights": False,
                **settings,
            }
        ),
    )
    dice = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for parameter in adapted.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn(parameter.shape, generator=dice) * 0.1)
    adapted.save_pretrained(str(folder))
    return folder


def adapted_model(base: Path, adapter: Path, rows: int | None = None) -> PeftModel:
    model = AutoModelForCausalLM.from_pretrained(str(base), dtype=torch.float32)
    if rows is not None:
        model.resize_token_embeddings(rows)
    return PeftModel.from_pretrained(model, str(adapter)).eval()


def merged_by_peft(base: Path, adapter: Path, rows: int | None = None) -> dict[str, torch.Tensor]:
    """The state of PEFT's merge in float32."""
    state: dict[str, torch.Tensor] = (
        adapted_model(base, adapter, rows).merge_and_unload().state_dict()
    )
    return state


def weights(folder: Path) -> dict[str, torch.Tensor]:
    """All tensors of a model's directory."""
    found: dict[str, torch.Tensor] = {}
    for path in sorted(folder.glob("*.safetensors")):
        found |= load_file(path)
    return found


def logits(model: Any, tokens: int = VOCABULARY) -> torch.Tensor:
    ids = torch.randint(0, tokens, (2, 12), generator=torch.Generator().manual_seed(4))
    with torch.no_grad():
        output: torch.Tensor = model(input_ids=ids).logits
    return output


def loaded(folder: Path) -> PreTrainedModel:
    return AutoModelForCausalLM.from_pretrained(str(folder), dtype=torch.float32).eval()
