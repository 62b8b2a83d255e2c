"""Conversations on their way through the pipeline: as a line of the spool, and with their samples
as a line of the sample files."""

from __future__ import annotations

import json
from typing import Any

import msgspec

from models.conversations import Conversation
from models.samples import Sample
from trainer.data.preferences import Judged
from trainer.data.reading import Row


def spooled(row: Row) -> bytes:
    """A row's conversation as a line."""
    values: list[Any] = [row.messages, row.tools]
    if row.judged is not None:
        values.append([row.judged.first, row.judged.rejected, row.judged.is_good])
    return json.dumps(values, ensure_ascii=False).encode() + b"\n"


def unspooled(line: bytes, file: str, row: int) -> Conversation:
    messages, tools, *judged = json.loads(line)
    if judged:
        return Judged(messages, file, row, tools, *judged[0])
    return Conversation(messages, file, row, tools)


def sample_line(
    sample: Sample,
    conversation: Conversation,
    source: dict[str, Any] | None = None,
    judged: dict[str, Any] | None = None,
) -> bytes:
    """A sample as the files have it. `source` joins what is said of where it comes from, `judged`
    is what is known of its worth. The messages may hold numbers of any size, which only the
    standard library writes."""
    record = sample.to_json()
    record["source"] = {**record["source"], **(source or {})}
    record["messages"] = _raw(conversation.messages)
    if conversation.tools:
        record["tools"] = _raw(conversation.tools)
    if judged is not None:
        record.update(judged)
        if "rejected" in judged:
            rejected = judged["rejected"]
            record["rejected"] = {**rejected, "messages": _raw(rejected["messages"])}
    return msgspec.json.encode(record) + b"\n"


def _raw(value: Any) -> msgspec.Raw:
    return msgspec.Raw(json.dumps(value, ensure_ascii=False).encode())
