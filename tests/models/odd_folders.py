"""Models' folders of every odd sort, with what transformers and vLLM read in them: the fast tests
hold models.folder against it, the real ones both libraries."""

from __future__ import annotations

import functools
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

END, START, TURN_END = 256, 257, 258
TEMPLATE, OTHER, OF_TOOLS = "<|im_start|>{{ messages }}", "[INST]", "with {{ tools }}"

_CONFIG: dict[str, Any] = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "vocab_size": 259,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
    "eos_token_id": [END, TURN_END],
}
_LISTS = {key: value for key, value in _CONFIG.items() if key != "eos_token_id"}
_TEXT = {**_CONFIG, "model_type": "qwen2", "vocab_size": 320, "max_position_embeddings": 640}
_SEVERAL = {
    "model_type": "qwen2_audio",
    "architectures": ["Qwen2AudioForConditionalGeneration"],
    "text_config": _TEXT,
    "audio_config": {"d_model": 32, "encoder_layers": 1, "encoder_attention_heads": 2},
}
_TOKENIZER = {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "<|endoftext|>"}
_NAMED = [{"name": "default", "template": OTHER}, {"name": "tool_use", "template": OF_TOOLS}]
_PROCESSOR = {
    "preprocessor_config.json": {
        "feature_extractor_type": "WhisperFeatureExtractor",
        "processor_class": "GlmAsrProcessor",
    }
}


@dataclass(frozen=True)
class OddFolder:
    """A folder, by what its files hold beside or instead of the usual ones, and what is read in
    it."""

    files: dict[str, Any] = field(default_factory=dict)
    """Contents by name: texts as they are, anything else as JSON. None: there is no such file."""
    stops: tuple[int, ...] = (END, TURN_END)
    template: str | None = None
    tool_template: str | None = None
    vocabulary: int = 259
    context: int = 512

    def write(self, folder: Path) -> Path:
        usual = {
            "config.json": _CONFIG,
            "tokenizer_config.json": _TOKENIZER,
            "tokenizer.json": tokenizer_json(),
        }
        for name, content in {**usual, **self.files}.items():
            if content is not None:
                path = folder / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(content if isinstance(content, str) else json.dumps(content))
        return folder


FOLDERS = {
    # stop tokens
    "eos in config.json alone": OddFolder(),
    "an eos list in generation_config.json": OddFolder(
        {
            "config.json": _LISTS | {"eos_token_id": 7},
            "generation_config.json": {"eos_token_id": [END, TURN_END]},
        }
    ),
    "one eos in generation_config.json": OddFolder(
        {"generation_config.json": {"eos_token_id": TURN_END}}
    ),
    "a generation_config.json that names no eos": OddFolder(
        {"generation_config.json": {"temperature": 0.7}}, stops=(END,)
    ),
    "a generation_config.json with null": OddFolder(
        {"generation_config.json": {"eos_token_id": None}}, stops=(END,)
    ),
    "a generation_config.json that transformers derived": OddFolder(
        {"generation_config.json": {"_from_model_config": True, "eos_token_id": 9}}, stops=(9, END)
    ),
    "an eos token as an object": OddFolder(
        {
            "config.json": _LISTS | {"eos_token_id": 9},
            "tokenizer_config.json": _TOKENIZER
            | {"eos_token": {"__type": "AddedToken", "content": "<|im_end|>", "special": True}},
        },
        stops=(9, TURN_END),
    ),
    "an eos token of the model's own vocabulary": OddFolder(
        {
            "config.json": _LISTS | {"eos_token_id": 9},
            "tokenizer_config.json": _TOKENIZER | {"eos_token": "!"},
        },
        stops=(0, 9),
    ),
    "an eos token in special_tokens_map.json": OddFolder(
        {
            "config.json": _LISTS | {"eos_token_id": 9},
            "special_tokens_map.json": {"eos_token": {"content": "<|im_end|>", "lstrip": False}},
        },
        stops=(9, TURN_END),
    ),
    "special_tokens_map.json beside added_tokens_decoder": OddFolder(
        {
            "config.json": _LISTS | {"eos_token_id": 9},
            "special_tokens_map.json": {"eos_token": "<|im_end|>"},
            "tokenizer_config.json": _TOKENIZER
            | {"added_tokens_decoder": {str(END): {"content": "<|endoftext|>", "special": True}}},
        },
        stops=(9, END),
    ),
    "no eos token": OddFolder(
        {"tokenizer_config.json": {"tokenizer_class": "PreTrainedTokenizerFast"}}
    ),
    "no tokenizer": OddFolder({"tokenizer_config.json": None, "tokenizer.json": None}),
    # sizes
    "a padded vocabulary": OddFolder(
        {"config.json": _CONFIG | {"vocab_size": 320}}, vocabulary=320
    ),
    "text_config": OddFolder({"config.json": _SEVERAL}, vocabulary=320, context=640),
    "text_config with another eos outside": OddFolder(
        {"config.json": _SEVERAL | {"eos_token_id": 9}}, stops=(9, END), vocabulary=320, context=640
    ),
    # chat templates
    "chat_template.jinja": OddFolder(
        {"chat_template.jinja": TEMPLATE}, template=TEMPLATE, tool_template=TEMPLATE
    ),
    "chat_template.jinja beside an older one": OddFolder(
        {
            "chat_template.jinja": TEMPLATE,
            "tokenizer_config.json": _TOKENIZER | {"chat_template": OTHER},
        },
        template=TEMPLATE,
        tool_template=TEMPLATE,
    ),
    "chat_template.jinja beside a list": OddFolder(
        {
            "chat_template.jinja": TEMPLATE,
            "tokenizer_config.json": _TOKENIZER | {"chat_template": _NAMED},
        },
        template=TEMPLATE,
        tool_template=TEMPLATE,
    ),
    "a list of named templates": OddFolder(
        {"tokenizer_config.json": _TOKENIZER | {"chat_template": _NAMED}},
        template=OTHER,
        tool_template=OF_TOOLS,
    ),
    "a list without a default": OddFolder(
        {"tokenizer_config.json": _TOKENIZER | {"chat_template": _NAMED[1:]}},
        tool_template=OF_TOOLS,
    ),
    "additional_chat_templates": OddFolder(
        {"chat_template.jinja": TEMPLATE, "additional_chat_templates/tool_use.jinja": OF_TOOLS},
        template=TEMPLATE,
        tool_template=OF_TOOLS,
    ),
    "additional_chat_templates alone": OddFolder(
        {
            "additional_chat_templates/tool_use.jinja": OF_TOOLS,
            "tokenizer_config.json": _TOKENIZER | {"chat_template": OTHER},
        },
        tool_template=OF_TOOLS,
    ),
    "chat_template.json alone": OddFolder({"chat_template.json": {"chat_template": TEMPLATE}}),
    "chat_template.json beside the tokenizer's": OddFolder(
        {
            "chat_template.json": {"chat_template": TEMPLATE},
            "tokenizer_config.json": _TOKENIZER | {"chat_template": OTHER},
        },
        template=OTHER,
        tool_template=OTHER,
    ),
    "chat_template.json of a processor": OddFolder(
        {**_PROCESSOR, "chat_template.json": {"chat_template": TEMPLATE}}, template=TEMPLATE
    ),
    "a processor's beside the tokenizer's": OddFolder(
        {
            **_PROCESSOR,
            "chat_template.json": {"chat_template": TEMPLATE},
            "tokenizer_config.json": _TOKENIZER | {"chat_template": OTHER},
        },
        template=TEMPLATE,
        tool_template=OTHER,
    ),
    "a processor's beside chat_template.jinja": OddFolder(
        {
            **_PROCESSOR,
            "chat_template.json": {"chat_template": TEMPLATE},
            "chat_template.jinja": OTHER,
        },
        template=TEMPLATE,
        tool_template=OTHER,
    ),
    "a template in processor_config.json": OddFolder(
        {
            **_PROCESSOR,
            "processor_config.json": {
                "processor_class": "GlmAsrProcessor",
                "chat_template": TEMPLATE,
            },
            "chat_template.jinja": OTHER,
        },
        template=TEMPLATE,
        tool_template=OTHER,
    ),
    "a processor without a template of its own": OddFolder(
        {**_PROCESSOR, "tokenizer_config.json": _TOKENIZER | {"chat_template": OTHER}},
        template=OTHER,
        tool_template=OTHER,
    ),
}


@functools.cache
def tokenizer_json() -> str:
    """Bytes, and ChatML's three tokens after them."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=256,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator([], trainer)
    tokenizer.add_special_tokens(["<|endoftext|>", "<|im_start|>", "<|im_end|>"])
    return str(tokenizer.to_str())
