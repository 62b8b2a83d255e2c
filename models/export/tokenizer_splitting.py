"""How a byte-pair tokenizer splits a text before it joins pairs, by llama.cpp's name for it."""

from __future__ import annotations

from typing import Any

from jobs.luthier_error import LuthierError

_LETTERS_FIRST = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|{DIGITS}|"
    r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_PATTERNS = {
    _LETTERS_FIRST.replace("{DIGITS}", r"\p{N}{1,3}"): "llama-bpe",
    _LETTERS_FIRST.replace("{DIGITS}", r"\p{N}"): "qwen2",
}


def splitting(tokenizer: dict[str, Any]) -> str:
    """From the content of a tokenizer.json. LuthierError for one that llama.cpp has no name for
    here: to guess would change how numbers or accents become tokens."""
    model = tokenizer.get("model") or {}
    steps = _steps(tokenizer.get("pre_tokenizer"))
    kinds = [step.get("type") for step in steps]
    if model.get("type") == "BPE" and kinds and kinds[-1] == "ByteLevel":
        by_regex = bool(steps[-1].get("use_regex", True))
        if kinds == ["ByteLevel"] and by_regex:
            return "gpt-2"
        if kinds == ["Digits", "ByteLevel"] and steps[0].get("individual_digits") and by_regex:
            return "smollm"
        if kinds == ["Split", "ByteLevel"] and not by_regex:
            pattern = (steps[0].get("pattern") or {}).get("Regex")
            if pattern in _PATTERNS:
                return _PATTERNS[pattern]
    raise LuthierError(
        "A tokenizer that this cannot write",
        f"It splits texts by {', '.join(map(str, kinds)) or model.get('type')}, for which Luthier"
        " does not know llama.cpp's name.",
        "Export it with llama.cpp's convert_hf_to_gguf.py.",
    )


def is_byte_level(tokenizer: dict[str, Any]) -> bool:
    """Whether it joins pairs of bytes, as GPT-2's does."""
    return any(step.get("type") == "ByteLevel" for step in _steps(tokenizer.get("pre_tokenizer")))


def _steps(splitter: Any) -> list[dict[str, Any]]:
    if not isinstance(splitter, dict):
        return []
    parts = splitter.get("pretokenizers") if splitter.get("type") == "Sequence" else [splitter]
    return [part for part in parts or [] if isinstance(part, dict)]
