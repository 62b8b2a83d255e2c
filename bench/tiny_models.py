"""Tiny models of the architectures that people train, with random weights, the built-in model's
tokenizer and each family's own chat template.

`python -m bench.tiny_models NAME OUT --tokenizer DIR` writes one; bench/architectures.py walks
through all of them.
"""

from __future__ import annotations

import argparse
import json
import re
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

_ROOT = Path(__file__).parents[1]
# What a template writes as one token: <|turn|>, [/INST], <end_of_turn>.
_MARKS = re.compile(
    r"<[|｜][^\s<>'\"{}]{1,30}>|<[a-z_▁]{1,30}[|｜]>|\[/?[A-Z_]{3,20}\]|\[\|[a-z]+\|\]"
    r"|</?(?:start_of_turn|end_of_turn|think|tool_call|tool_response|sop)>"
)
_LONGEST = 2048
_PATTERN = ["linear_attention", "full_attention"]
_SLIDING = ["sliding_attention", "full_attention"]


@dataclass(frozen=True)
class Family:
    """A chat template, and the tokens that it ends answers with and begins a conversation with."""

    template: str
    """`trl:NAME`, one of trl's; else one of tests/models/templates."""
    ends: tuple[str, ...]
    begins: str = "<|endoftext|>"
    answers: tuple[str, ...] = ()
    """Tokens of answers that the template does not write: vLLM's tool parser asks for them."""


@dataclass(frozen=True)
class Architecture:
    """One of transformers' model types, `name`, as small as it can be trained and served."""

    name: str
    people: str
    """Who is of this architecture."""
    family: Family
    settings: dict[str, Any] = field(default_factory=dict)
    """What its config has beside `_DENSE`, or in place of it; None leaves a key out."""
    folder: str = ""
    """The name of the model's folder, where it is not the architecture's."""
    experts: tuple[str, ...] = ()
    """What a recipe's lora.experts trains: how the names of the experts' parameters end."""

    @property
    def size(self) -> dict[str, Any]:
        """What its config has beside the tokens."""
        settings = {**_DENSE, **self.settings}
        return {key: value for key, value in settings.items() if value is not None}


CHATML = Family("chatml", ("<|im_end|>",))
QWEN = Family("trl:qwen3", ("<|im_end|>",))
QWEN35 = Family("trl:qwen3_5_nothink", ("<|im_end|>",))
LLAMA3 = Family("trl:llama3", ("<|eot_id|>",))
MISTRAL = Family("mistral_v7", ("</s>",), "<s>")
GEMMA3 = Family("trl:gemma3", ("<end_of_turn>",), "<bos>")
GEMMA4 = Family("trl:gemma4", ("<turn|>",), "<bos>")
PHI3 = Family("trl:phi3_5", ("<|end|>",))
GRANITE = Family("granite3", ("<|end_of_text|>",))
GLM = Family("trl:glm4moe", ("<|user|>", "<|observation|>"))
GPT_OSS = Family("trl:gptoss", ("<|return|>", "<|call|>"))
TULU = Family("tulu", ("<|endoftext|>",))
COHERE = Family("trl:cohere2", ("<|END_OF_TURN_TOKEN|>",), "<BOS_TOKEN>")
LFM2 = Family("trl:lfm2", ("<|im_end|>",), answers=("<|tool_call_start|>", "<|tool_call_end|>"))
DEEPSEEK = Family("trl:deepseekv3", ("<｜end▁of▁sentence｜>",), "<｜begin▁of▁sentence｜>")
EXAONE = Family("exaone", ("[|endofturn|]",), "[BOS]")
NEMOTRON = Family("trl:nemotron_3_nano", ("<|im_end|>",))

_DENSE: dict[str, Any] = {
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 32,
    "max_position_embeddings": _LONGEST,
    "initializer_range": 0.1,
    "tie_word_embeddings": False,
}
# for those whose config has no head_dim
_FEW_HEADS: dict[str, Any] = {"head_dim": None, "num_attention_heads": 2}
_MIXTURE = {"moe_intermediate_size": 64, "num_experts": 4, "num_experts_per_tok": 2}
_SHARED_EXPERT = {**_MIXTURE, "shared_expert_intermediate_size": 64}
_FUSED = ("mlp.experts.gate_up_proj", "mlp.experts.down_proj")
_HYBRID = {
    "layer_types": _PATTERN,
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 4,
    "linear_key_head_dim": 128,  # vLLM has no smaller ones for a CPU
    "linear_value_head_dim": 128,
    "full_attention_interval": 2,
}
_MAMBA = {
    "mamba_n_heads": 4,
    "mamba_d_head": 32,
    "mamba_d_state": 16,
    "mamba_n_groups": 1,
    "mamba_expand": 2,
}
_LATENT = {
    "q_lora_rank": 32,
    "kv_lora_rank": 512,  # with 64, DeepSeek's own: vLLM has no other latent attention for a CPU
    "qk_nope_head_dim": 32,
    "qk_rope_head_dim": 64,
    "v_head_dim": 32,
    "num_key_value_heads": 4,
    "head_dim": None,
    "n_routed_experts": 4,
    "num_experts_per_tok": 2,
    "n_shared_experts": 1,
    "moe_intermediate_size": 64,
    "first_k_dense_replace": 1,
    "n_group": 1,
    "topk_group": 1,
    # transformers knows no other way to choose experts, and vLLM asks
    "topk_method": "noaux_tc",
    "scoring_func": "sigmoid",
}

ARCHITECTURES = [
    # dense
    Architecture("llama", "Llama 3, SmolLM2, Yi, DeepSeek-R1-Distill-Llama", LLAMA3),
    Architecture("mistral", "Mistral 7B, Nemo, Small 2", MISTRAL),
    Architecture("ministral3", "Ministral 3 and Mistral Small, text alone", MISTRAL),
    Architecture("qwen2", "Qwen2.5, DeepSeek-R1-Distill-Qwen", CHATML, _FEW_HEADS),
    Architecture("qwen3", "Qwen3", QWEN),
    Architecture(
        "gemma2", "Gemma 2", GEMMA3, {"query_pre_attn_scalar": 32, "tie_word_embeddings": True}
    ),
    Architecture(
        "gemma3_text",
        "Gemma 3 1B, 270M",
        GEMMA3,
        {"query_pre_attn_scalar": 32, "layer_types": _SLIDING},
    ),
    Architecture(
        "gemma4_text",
        "Gemma 4, text alone",
        GEMMA4,
        {
            "layer_types": _SLIDING,
            "global_head_dim": 32,
            "num_global_key_value_heads": 2,
            "hidden_size_per_layer_input": 0,
            "num_kv_shared_layers": 0,
            "vocab_size_per_layer_input": 64,
            "sliding_window": 512,
        },
    ),
    Architecture("phi3", "Phi-3, Phi-4, Phi-4-mini", PHI3, _FEW_HEADS),
    Architecture("olmo2", "OLMo 2", TULU, _FEW_HEADS),
    Architecture(
        "olmo3",
        "OLMo 3",
        CHATML,
        {
            **_FEW_HEADS,
            "layer_types": _SLIDING,
            "sliding_window": 512,
        },
    ),
    Architecture("smollm3", "SmolLM3", CHATML, _FEW_HEADS),
    Architecture(
        "granite",
        "Granite 3, Granite 4 dense",
        GRANITE,
        _FEW_HEADS,
    ),
    Architecture("glm4", "GLM-4 0414", GLM),
    Architecture(
        "cohere2",
        "Command A, Command R7B",
        COHERE,
        {**_FEW_HEADS, "tie_word_embeddings": True, "logit_scale": 1.0},
    ),
    Architecture("exaone4", "EXAONE 4", EXAONE, {"layer_types": _SLIDING, "sliding_window": 512}),
    Architecture("seed_oss", "Seed-OSS", CHATML),
    # hybrids
    Architecture("qwen3_5_text", "Qwen3.5 and 3.6 dense, text alone", QWEN35, _HYBRID),
    Architecture(
        "lfm2",
        "LFM2",
        LFM2,
        {
            "layer_types": ["conv", "full_attention"],
            **_FEW_HEADS,
            "tie_word_embeddings": True,  # vLLM always ties them
            "block_auto_adjust_ff_dim": False,
            "block_dim": 64,
            "conv_dim": 64,
        },
    ),
    Architecture(
        "falcon_h1",
        "Falcon-H1",
        CHATML,
        {**_MAMBA, "mamba_d_ssm": 128},
    ),
    Architecture(
        "granitemoehybrid",
        "Granite 4 H",
        GRANITE,
        {
            **_MAMBA,
            **_FEW_HEADS,
            "layer_types": ["mamba", "attention"],
            "num_local_experts": 4,
            "num_experts_per_tok": 2,
            "shared_intermediate_size": 64,
            "position_embedding_type": "nope",
        },
        experts=("block_sparse_moe.experts.gate_up_proj", "block_sparse_moe.experts.down_proj"),
    ),
    Architecture(
        "nemotron_h",
        "Nemotron-H, Nemotron 3 Nano",
        NEMOTRON,
        {
            "layers_block_type": ["mamba", "attention", "moe", "mlp"],
            "num_hidden_layers": None,
            "n_routed_experts": 4,
            "num_experts_per_tok": 2,
            "moe_intermediate_size": 64,
            "moe_shared_expert_intermediate_size": 64,
            "mamba_num_heads": 4,
            "mamba_head_dim": 32,
            "ssm_state_size": 16,
            "n_groups": 1,
            "conv_kernel": 4,
        },
        experts=("mixer.experts.up_proj", "mixer.experts.down_proj"),
    ),
    # mixtures of experts
    Architecture("qwen3_moe", "Qwen3 30B-A3B, 235B-A22B", QWEN, _MIXTURE, experts=_FUSED),
    Architecture(
        "qwen2_moe",
        "Qwen1.5-MoE, Qwen2 57B-A14B",
        CHATML,
        {**_SHARED_EXPERT, **_FEW_HEADS},
        experts=_FUSED,
    ),
    Architecture("qwen3_next", "Qwen3-Next", QWEN, {**_SHARED_EXPERT, **_HYBRID}, experts=_FUSED),
    Architecture(
        "qwen3_5_moe_text",
        "Qwen3.5 and 3.6 mixtures, text alone",
        QWEN35,
        {**_SHARED_EXPERT, **_HYBRID},
        experts=_FUSED,
    ),
    Architecture(
        "mixtral",
        "Mixtral",
        MISTRAL,
        {"num_local_experts": 4, "num_experts_per_tok": 2},
        experts=_FUSED,
    ),
    Architecture(
        "gpt_oss",
        "gpt-oss",
        GPT_OSS,
        {
            "num_local_experts": 4,
            "num_experts_per_tok": 2,
            "layer_types": _SLIDING,
            "sliding_window": 128,
        },
        experts=_FUSED,
    ),
    Architecture(
        "llama4_text",
        "Llama 4, text alone",
        LLAMA3,
        {
            "intermediate_size_mlp": 128,
            "num_local_experts": 4,
            "num_experts_per_tok": 1,
            "interleave_moe_layer_step": 2,
            "attention_chunk_size": 512,
        },
        experts=("feed_forward.experts.gate_up_proj", "feed_forward.experts.down_proj"),
    ),
    Architecture(
        "glm4_moe",
        "GLM-4.5, 4.6, 4.7",
        GLM,
        {
            "n_routed_experts": 4,
            "num_experts_per_tok": 2,
            "n_shared_experts": 1,
            "moe_intermediate_size": 64,
            "first_k_dense_replace": 1,
            "n_group": 1,
            "topk_group": 1,
        },
        experts=_FUSED,
    ),
    Architecture("glm4_moe_lite", "GLM-4.7-Flash", GLM, _LATENT, experts=_FUSED),
    Architecture(
        "deepseek_v3", "DeepSeek V3, Kimi K2, Moonlight", DEEPSEEK, _LATENT, experts=_FUSED
    ),
    Architecture(
        "olmoe",
        "OLMoE",
        TULU,
        {"num_experts": 4, "num_experts_per_tok": 2, **_FEW_HEADS},
        experts=_FUSED,
    ),
    Architecture(
        "ernie4_5_moe",
        "ERNIE 4.5",
        CHATML,
        {
            "moe_intermediate_size": 64,
            "moe_num_experts": 4,
            "moe_k": 2,
            "moe_num_shared_experts": 1,
            "moe_layer_start_index": 1,
            "moe_layer_end_index": 1,
            "moe_layer_interval": 1,
        },
        experts=_FUSED,
    ),
    Architecture(
        "lfm2_moe",
        "LFM2 8B-A1B",
        LFM2,
        {
            **_MIXTURE,
            "layer_types": ["conv", "full_attention"],
            "num_dense_layers": 1,
            **_FEW_HEADS,
            "tie_word_embeddings": True,
        },
        experts=("feed_forward.experts.gate_up_proj", "feed_forward.experts.down_proj"),
    ),
    Architecture(
        "minimax_m2",
        "MiniMax M2",
        CHATML,
        {
            "num_local_experts": 4,
            "num_experts_per_tok": 2,
            "rotary_dim": 16,
            "scoring_func": "sigmoid",
            "use_routing_bias": True,
        },
        experts=_FUSED,
    ),
]


def architecture(name: str) -> Architecture:
    return next(entry for entry in ARCHITECTURES if entry.name == name)


def template_text(family: Family) -> str:
    kind, _, name = family.template.rpartition(":")
    if not kind:
        return (_ROOT / "tests" / "models" / "templates" / f"{name}.jinja").read_text()
    spec = find_spec("trl")
    assert spec is not None
    assert spec.origin is not None
    return (Path(spec.origin).parent / "chat_templates" / f"{name}.jinja").read_text()


def write_tokenizer(folder: Path, family: Family, builtin: Path) -> dict[str, Any]:
    """The built-in model's tokenizer with the family's tokens and template; what a config says of
    it: eos_token_id and so on, and the size of the vocabulary."""
    from tokenizers.decoders import ByteLevel
    from transformers import AddedToken, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(builtin)
    text = template_text(family)
    marks = dict.fromkeys([*family.ends, family.begins, *family.answers, *_MARKS.findall(text)])
    tokenizer.add_tokens([AddedToken(mark, special=True, normalized=False) for mark in marks])
    # a GGUF file's decoder takes a text for bytes as a whole: DeepSeek's marks are none
    tokenizer.backend_tokenizer.decoder = ByteLevel()
    tokenizer.chat_template = text
    tokenizer.eos_token, tokenizer.bos_token = family.ends[0], family.begins
    tokenizer.pad_token = "<|endoftext|>" if family.ends[0] != "<|endoftext|>" else "<|im_start|>"
    tokenizer.save_pretrained(folder)
    ends = tokenizer.convert_tokens_to_ids(list(family.ends))
    return {
        "vocab_size": -(-len(tokenizer) // 64) * 64,
        "eos_token_id": ends if len(ends) > 1 else ends[0],
        "bos_token_id": tokenizer.bos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }


def write_model(folder: Path, entry: Architecture, builtin: Path) -> Path:
    """The model, as save_pretrained writes it. What transformers raises is the caller's to tell."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    folder.mkdir(parents=True)
    tokens = write_tokenizer(folder, entry.family, builtin)
    config = AutoConfig.for_model(entry.name, **entry.size, **tokens)
    torch.manual_seed(7)
    model = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.dim() > 1 and "conv" not in name:
                # a head that can be sure of a token, so that a few steps teach it to stop
                size = 2.5 if "lm_head" in name else 0.7
                parameter.normal_(0.0, size * parameter.shape[-1] ** -0.5)
    model.save_pretrained(folder)
    generation = {key: value for key, value in tokens.items() if key.endswith("token_id")}
    (folder / "generation_config.json").write_text(json.dumps(generation))
    return folder


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name")
    parser.add_argument("out", type=Path)
    parser.add_argument("--tokenizer", type=Path, required=True)
    arguments = parser.parse_args()
    write_model(arguments.out, architecture(arguments.name), arguments.tokenizer)


if __name__ == "__main__":
    main()
