"""A tiny chat model with random weights and a tokenizer of its own: a Llama of two layers that
trains a step in milliseconds."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content']"
    " }}<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
_SPECIAL = ["<|pad|>", "<|im_start|>", "<|im_end|>"]
_LAYERS, _HEADS = 2, 2


def write_tiny_model(directory: Path, hidden: int = 32) -> Path:
    directory.mkdir(parents=True)
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=320,
        special_tokens=_SPECIAL,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator((row["messages"][1]["content"] for row in _rows(60)), trainer)
    tokenizer.save(str(directory / "tokenizer.json"))
    size = tokenizer.get_vocab_size()
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "eos_token": "<|im_end|>",
        "pad_token": "<|pad|>",
        "model_max_length": 512,
    }
    (directory / "tokenizer_config.json").write_text(json.dumps(settings))
    (directory / "chat_template.jinja").write_text(_TEMPLATE)
    config = {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "vocab_size": size,
        "hidden_size": hidden,
        "intermediate_size": 2 * hidden,
        "num_hidden_layers": _LAYERS,
        "num_attention_heads": _HEADS,
        "num_key_value_heads": _HEADS,
        "max_position_embeddings": 512,
        "eos_token_id": 2,
        "pad_token_id": 0,
        "tie_word_embeddings": True,
        "dtype": "bfloat16",
    }
    (directory / "config.json").write_text(json.dumps(config))
    (directory / "generation_config.json").write_text(
        json.dumps({"eos_token_id": 2, "pad_token_id": 0})
    )
    save_file(
        _weights(size, hidden), str(directory / "model.safetensors"), metadata={"format": "pt"}
    )
    return directory


def write_tiny_base(directory: Path) -> Path:
    """The same as a base that has never seen a chat: without the tokens, without a template, ending
    with another token."""
    write_tiny_model(directory)
    (directory / "chat_template.jinja").unlink()
    tokenizer, settings = directory / "tokenizer.json", directory / "tokenizer_config.json"
    tokenizer.write_text(
        tokenizer.read_text().replace("<|im_start|>", "<s>").replace("<|im_end|>", "</s>")
    )
    settings.write_text(
        json.dumps({**json.loads(settings.read_text()), "bos_token": "<s>", "eos_token": "</s>"})
    )
    return directory


def write_conversations(path: Path, count: int) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in _rows(count)))
    return path


def _rows(count: int) -> list[dict[str, list[dict[str, str]]]]:
    words = [
        "north",
        "east",
        "south",
        "west",
        "sail",
        "anchor",
        "harbour",
        "tide",
        "rope",
        "deck",
        "wind",
        "star",
    ]
    return [
        {
            "messages": [
                {"role": "user", "content": f"Where lies {words[number % 12]} {number}?"},
                {
                    "role": "assistant",
                    "content": " ".join(
                        [
                            f"Aye, {number}",
                            *(words[(number * step) % 12] for step in range(1, 3 + number % 9)),
                        ]
                    ),
                },
            ]
        }
        for number in range(count)
    ]


def _weights(size: int, hidden: int) -> dict[str, np.ndarray]:
    random = np.random.default_rng(7)

    def matrix(rows: int, columns: int) -> np.ndarray:
        drawn: np.ndarray = random.normal(0.0, 0.15 * (32 / hidden) ** 0.5, (rows, columns)).astype(
            np.float32
        )
        return drawn

    found = {
        "model.embed_tokens.weight": matrix(size, hidden),
        "model.norm.weight": np.ones(hidden, np.float32),
    }
    for layer in range(_LAYERS):
        prefix = f"model.layers.{layer}"
        for name in ("q", "k", "v", "o"):
            found[f"{prefix}.self_attn.{name}_proj.weight"] = matrix(hidden, hidden)
        found[f"{prefix}.mlp.gate_proj.weight"] = matrix(2 * hidden, hidden)
        found[f"{prefix}.mlp.up_proj.weight"] = matrix(2 * hidden, hidden)
        found[f"{prefix}.mlp.down_proj.weight"] = matrix(hidden, 2 * hidden)
        for name in ("input_layernorm", "post_attention_layernorm"):
            found[f"{prefix}.{name}.weight"] = np.ones(hidden, np.float32)
    return found
