"""The text of each token of a tokenizer, byte by byte, for readers that have no tokenizer."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING

from trainer.data.inspection import Vocabulary

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_BYTE = re.compile(r"<0x([0-9A-Fa-f]{2})>")


def vocabulary_of(tokenizer: PreTrainedTokenizerBase, stop_ids: Iterable[int]) -> Vocabulary:
    """Every token of the tokenizer. A token of a byte-level one may hold a part of a character
    only."""
    from transformers.convert_slow_tokenizer import bytes_to_unicode

    backend = tokenizer.backend_tokenizer
    decoder = str(backend.decoder)
    by_bytes, by_fallback, spaces = (
        "ByteLevel(" in decoder,
        "ByteFallback(" in decoder,
        "▁" in decoder,
    )
    alphabet = {character: byte for byte, character in bytes_to_unicode().items()}
    numbers = backend.get_vocab(with_added_tokens=True)
    added = {number: token.content for number, token in tokenizer.added_tokens_decoder.items()}
    pieces = [""] * (1 + max([*numbers.values(), *added]))
    parts: dict[int, str] = {}
    for token, number in numbers.items():
        byte = _BYTE.fullmatch(token) if by_fallback else None
        if number in added:
            raw = added[number].encode()
        elif byte:
            raw = bytes.fromhex(byte[1])
        elif by_bytes and all(character in alphabet for character in token):
            raw = bytes(alphabet[character] for character in token)
        else:
            raw = (token.replace("▁", " ") if spaces else token).encode(errors="replace")
        try:
            pieces[number] = raw.decode()
        except UnicodeDecodeError:
            parts[number] = raw.hex()
    return Vocabulary(sorted(stop_ids), pieces, parts)
