"""Real chat templates with small tokenizers, and conversations of many shapes, for the evidence
that the loss mask is right."""

from __future__ import annotations

import functools
import importlib.util
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

OWN = Path(__file__).parent / "templates"
_CONTROL = re.compile(
    r"<\|[^|<>\s]+\|>|<｜[^｜\s]+｜>|<\|[a-z_\"]+>|<[a-z_\"]+\|>|\[/?[A-Z_]+\]|\[\|[a-z]+\|\]"
    r"|<(?:end_of_turn|start_of_turn|start_of_image|end_of_utterance|image|sop)>|</s>"
)
_PLAIN_ADDED = re.compile(r"</?(?:think|tool_call|tool_response|tools|arg_key|arg_value)>")


@dataclass(frozen=True)
class Stock:
    """How a model family stops and begins, by its tokenizer_config.json and
    generation_config.json."""

    stops: tuple[str, ...]
    bos: str | None = None
    rstrip: tuple[str, ...] = ()  # added tokens that take in the whitespace after them


_QWEN = Stock(("<|im_end|>", "<|endoftext|>"))
_DEEPSEEK = Stock(("<｜end▁of▁sentence｜>",), "<｜begin▁of▁sentence｜>")
_GEMMA = Stock(("<end_of_turn>", "<eos>"), "<bos>")
_GEMMA4 = Stock(("<turn|>", "<eos>", "<|tool_response>"), "<bos>")
_COHERE = Stock(("<|END_OF_TURN_TOKEN|>",), "<BOS_TOKEN>")
_PHI3 = Stock(
    ("<|endoftext|>", "<|end|>"), "<s>", ("<|end|>", "<|assistant|>", "<|user|>", "<|system|>")
)
_MISTRAL = Stock(("</s>",), "<s>")
STOCK = {
    "cohere": _COHERE, "cohere2": _COHERE, "deepseek_r1_distill": _DEEPSEEK,
    "deepseekv3": _DEEPSEEK, "diffusion_gemma": _GEMMA4, "gemma": _GEMMA, "gemma3": _GEMMA,
    "gemma4": _GEMMA4, "glm4moe": Stock(("<|endoftext|>", "<|user|>", "<|observation|>")),
    "gptoss": Stock(("<|return|>", "<|call|>", "<|endoftext|>"), "<|startoftext|>"),
    "idefics3": Stock(("<end_of_utterance>",), "<|begin_of_text|>"), "lfm2": Stock(("<|im_end|>",),
    "<|startoftext|>"), "lfm2_2_5": Stock(("<|im_end|>",), "<|startoftext|>"),
    "lfm2_2_5_vl": Stock(("<|im_end|>",), "<|startoftext|>"),
    "llama3": Stock(("<|eot_id|>", "<|end_of_text|>"), "<|begin_of_text|>"),
    "llama3_1": Stock(("<|eot_id|>", "<|eom_id|>", "<|end_of_text|>"), "<|begin_of_text|>"),
    "llama3_2": Stock(("<|eot_id|>", "<|eom_id|>", "<|end_of_text|>"), "<|begin_of_text|>"),
    "llava_next": _MISTRAL, "muse_glimmer": Stock(("<|eot|>",), "<|begin_of_text|>"), "phi3": _PHI3,
    "phi3_5": _PHI3, "mistral_v1": _MISTRAL, "mistral_system_last": _MISTRAL,
    "mistral_v7": _MISTRAL, "llama2": _MISTRAL, "vicuna": _MISTRAL, "alpaca": _MISTRAL,
    "zephyr": _MISTRAL, "tulu": Stock(("<|endoftext|>",)), "openchat": Stock(("<|end_of_turn|>",),
    "<s>"), "granite3": Stock(("<|end_of_text|>",)), "phi4": _QWEN,
    "exaone": Stock(("[|endofturn|]",), "[BOS]"),
}  # fmt: skip
PARTS_ONLY = {"idefics3", "llava_next"}  # their templates read content from a list of parts


@functools.cache
def templates() -> dict[str, str]:
    """Name to template text: ours, trl's originals and one of vLLM's."""
    found = {path.stem: path.read_text(encoding="utf-8") for path in sorted(OWN.glob("*.jinja"))}
    found |= {
        path.stem: path.read_text(encoding="utf-8")
        for path in _trl()
        if not path.stem.endswith("_training")
    }
    vllm = importlib.util.find_spec("vllm")
    if vllm is not None and vllm.submodule_search_locations:
        path = Path(
            vllm.submodule_search_locations[0],
            "transformers_utils",
            "chat_templates",
            "template_minicpmv45.jinja",
        )
        found |= {"minicpmv45": path.read_text(encoding="utf-8")} if path.is_file() else {}
    return found


@functools.cache
def marked_twins() -> dict[str, str]:
    """Name to the twin in which trl marks what it trains."""
    ending = "_training"
    return {
        path.stem.removesuffix(ending): path.read_text(encoding="utf-8")
        for path in _trl()
        if path.stem.endswith(ending)
    }


def _trl() -> list[Path]:
    spec = importlib.util.find_spec("trl")
    assert spec is not None and spec.submodule_search_locations
    return sorted(Path(spec.submodule_search_locations[0], "chat_templates").glob("*.jinja"))


@functools.cache
def _words() -> list[str]:
    text = " ".join(re.findall(r"[A-Za-z]+", (OWN / "README.md").read_text(encoding="utf-8")))
    return [
        f"{text} user assistant system hello there the answer is this and that\n\n\n def return"
        " value 0123456789"
    ] * 4


@functools.cache
def _byte_level() -> str:
    """A byte-level BPE that cuts words as Llama 3's does: newlines join what follows them, so that
    tokens lie across edges."""
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

    inner = Tokenizer(models.BPE())
    cut = pre_tokenizers.Split(
        Regex(
            r"[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}|"
            r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
        ),
        "isolated",
    )
    inner.pre_tokenizer = pre_tokenizers.Sequence(
        [cut, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    inner.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=600, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    inner.train_from_iterator(_words(), trainer)
    return str(inner.to_str())


@functools.cache
def _metaspace() -> str:
    """A BPE with spaces as ▁ and bytes as fallback, as Llama 2, Mistral, Gemma and Phi-3 have."""
    from tokenizers import Tokenizer, decoders, models, normalizers, trainers

    inner = Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>", fuse_unk=True))
    inner.normalizer = normalizers.Replace(" ", "▁")
    alphabet = sorted({chr(number) for number in range(33, 127)} | {"▁", "\n"})
    special = ["<unk>", *(f"<0x{byte:02X}>" for byte in range(256))]
    trainer = trainers.BpeTrainer(
        vocab_size=800, initial_alphabet=alphabet, special_tokens=special, show_progress=False
    )
    inner.train_from_iterator([line.replace(" ", "▁") for line in _words()], trainer)
    state = json.loads(inner.to_str())
    # the byte tokens are in the vocabulary, but nobody may type them
    state["added_tokens"] = state["added_tokens"][:1]
    fresh = Tokenizer.from_str(json.dumps(state))
    steps = [
        decoders.Replace("▁", " "),
        decoders.ByteFallback(),
        decoders.Fuse(),
        decoders.Strip(" ", 1, 0),
    ]
    fresh.decoder = decoders.Sequence(steps)
    return str(fresh.to_str())


@functools.cache
def tokenizer_for(name: str, kind: str = "bytes", template: str | None = None) -> Any:
    """A small tokenizer with the template, its control tokens and its family's stops."""
    from tokenizers import AddedToken, Tokenizer
    from transformers import PreTrainedTokenizerFast

    source = templates()[name] if template is None else template
    stock = STOCK.get(name, _QWEN)
    inner = Tokenizer.from_str(_byte_level() if kind == "bytes" else _metaspace())
    control = {
        *_CONTROL.findall(source),
        *_CONTROL.findall(templates()[name]),
        *stock.stops,
        *([stock.bos] if stock.bos else []),
    }
    inner.add_special_tokens(
        [AddedToken(text, special=True, rstrip=text in stock.rstrip) for text in sorted(control)]
    )
    inner.add_tokens(
        [
            AddedToken(text, special=False, normalized=False)
            for text in sorted(set(_PLAIN_ADDED.findall(source)))
        ]
    )
    eos = stock.stops[0]
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=inner,
        eos_token=eos,
        bos_token=stock.bos,
        clean_up_tokenization_spaces=False,
    )
    tokenizer.chat_template = source
    return tokenizer


def stop_ids(name: str, tokenizer: Any) -> set[int]:
    return {tokenizer.convert_tokens_to_ids(stop) for stop in STOCK.get(name, _QWEN).stops}


def _chat(*contents: str, system: str = "") -> list[dict[str, Any]]:
    messages = [
        {"role": ("user", "assistant")[index % 2], "content": content}
        for index, content in enumerate(contents)
    ]
    return [{"role": "system", "content": system}, *messages] if system else messages


def _call(city: str) -> dict[str, Any]:
    return {
        "id": "call00001",
        "type": "function",
        "function": {"name": "weather", "arguments": {"city": city}},
    }


_CITY = {"type": "string", "description": "Where"}
_FUNCTION = {
    "name": "weather",
    "description": "Looks outside.",
    "parameters": {"type": "object", "properties": {"city": _CITY}},
}
TOOLS: list[dict[str, Any]] = [{"type": "function", "function": _FUNCTION}]


def _thinking(answer: str, thought: str, **more: Any) -> dict[str, Any]:
    return {
        "role": "assistant",
        "content": answer,
        "reasoning_content": thought,
        "reasoning": thought,
        **more,
    }


def _user(content: str) -> dict[str, Any]:
    return {"role": "user", "content": content}


_TOOL = {"role": "tool", "name": "weather", "tool_call_id": "call00001"}
_LONG = "The lute has a neck, a bowl and a bridge; its strings are tuned in fourths. " * 60
SHAPES: dict[str, list[dict[str, Any]]] = {
    "one turn": _chat("What is a verb?", "A word that says what happens."),
    "system": _chat(
        "What is a noun?", "A name.", "And a verb?", "A deed.", system="Answer in three words."
    ),
    "many turns": _chat(
        *(f"Message number {number}, that says {number * 7}." for number in range(30))
    ),
    "waits for an answer": _chat("What is a verb?", "A deed.", "And a noun?"),
    "same answers": _chat("ok", "ok", "ok", "ok", "ok", "ok"),
    "reasoning": [
        _user("What is 2+2?"),
        _thinking("4.", "Two and two."),
        _user("And 3+3?"),
        _thinking("6.", "Three and three."),
    ],
    "reasoning in content": _chat(
        "What is 2+2?",
        "<think>\nTwo and two.\n</think>\n\n4.",
        "And 3+3?",
        "<think>\nThree twice.\n</think>\n\n6.",
    ),
    "tools": [
        _user("How is it in Sonborg?"),
        {"role": "assistant", "content": "", "tool_calls": [_call("Sonborg")]},
        {**_TOOL, "content": "rain"},
        {"role": "assistant", "content": "It rains there."},
        _user("Thanks."),
        {"role": "assistant", "content": "Any time."},
    ],
    "tools and reasoning": [
        _user("How is it in Sonborg?"),
        _thinking("", "I have to look.", tool_calls=[_call("Sonborg")]),
        {**_TOOL, "content": "rain"},
        _thinking("It rains there.", "Rain it is."),
    ],
    "consecutive users": [_user("Hello."), *_chat("Are you there?", "Yes.", "Good.", "Indeed.")],
    "consecutive assistants": [
        *_chat("Hello.", "Hello."),
        {"role": "assistant", "content": "How are you?"},
        *_chat("Well.", "Good."),
    ],
    "empty answer": _chat("Say nothing.", "", "Thanks.", "You are welcome."),
    "whitespace around content": _chat(
        "  Hello. \n", "\n\n  Yes, what is it? \n\n", "\tNothing.", " Well then.\n"
    ),
    "assistant first": [
        {"role": "assistant", "content": "How can I help?"},
        *_chat("Not at all.", "As you like."),
    ],
    "assistant first, untrained": [
        {"role": "assistant", "content": "How can I help?", "weight": 0},
        *_chat("Not at all.", "As you like."),
    ],
    "unicode and emoji": _chat(
        "Grüße aus 北京 👩‍👩‍👧‍👦", "😀 naïve ﬁancée — e\u0301té ✨", "한국어?", "日本語で。🎻"
    ),
    "special-token text": _chat("What does {stop} mean?", "It ends a turn."),
    "very long": _chat(_LONG, _LONG + "End.", _LONG * 2, "Short."),
    "code fences": _chat(
        "Code?",
        "```python\ndef f(x):\n    return {'a': [x < 3, 'x'.lower()]}\n```",
        "And?",
        "# Title\n\n* `{{ x }}`\n* {% raw %}",
    ),
    "right to left": _chat(
        "مرحبا، كيف حالك؟", "بخير، شكرا! \u200fنعم.", "מה שלומך?", "טוב מאוד (very) תודה."
    ),
    "template words": _chat(
        "Why does it say user assistant?",
        "assistant\nuser: system",
        "model final",
        "final\nanalysis",
    ),
    "weights": [
        *_chat("One?", "1"),
        _user("Two?"),
        {"role": "assistant", "content": "2", "weight": 0},
        _user("Three?"),
        {"role": "assistant", "content": "3", "weight": 0.5},
    ],
}


def shape(name: str, template: str) -> tuple[list[dict[str, Any]], list[dict[str, Any]] | None]:
    """The messages of a shape, and its tools."""
    stop = STOCK.get(template, _QWEN).stops[0]
    messages = [
        {**message, "content": message["content"].replace("{stop}", stop)}
        for message in SHAPES[name]
    ]
    return messages, TOOLS if name.startswith("tools") else None
