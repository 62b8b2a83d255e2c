"""When two conversations are one: the rule of the policy "duplicates", for the run and for the
look ahead. Nothing heavy is imported here: the app looks ahead itself."""

from __future__ import annotations

import hashlib
import json

from trainer.data.formats_turns import Message


def exact_digest(messages: list[Message], tools: list[Message] | None) -> bytes:
    """16 bytes, equal for conversations whose messages and tools are equal whatever the order of
    their keys."""
    serialized = json.dumps([messages, tools], ensure_ascii=False, sort_keys=True)
    encoded = serialized.encode("utf-8", "surrogatepass")
    return hashlib.blake2b(encoded, digest_size=16).digest()
