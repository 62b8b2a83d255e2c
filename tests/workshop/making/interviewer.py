"""A model that writes questions and answers as the packaged prompts ask for them, by rule."""

from __future__ import annotations

import json
import re
from typing import Any

_PASSAGE = re.compile(
    r"^Passage \d+:\n(.*?)(?=\n\nPassage \d+:|\n\nQuestion 1:|\n\nAnswer with|\Z)",
    re.DOTALL | re.MULTILINE,
)
_ALONE = re.compile(r"^The passage:\n(.*?)\n\nAnswer with", re.DOTALL | re.MULTILINE)


def passages_in(prompt: str) -> list[str]:
    alone = _ALONE.search(prompt)
    return [alone[1]] if alone else _PASSAGE.findall(prompt)


def question_to(passage: str) -> str:
    """Of some of its words, out of their order."""
    words = sorted(set(re.findall(r"[A-Za-z]{5,}", passage)), key=lambda word: (word.lower(), word))
    return (
        f"What do we know about {', '.join(words[1:9:2]) or 'this matter here'} and why is it so?"
    )


def answer_from(passage: str) -> str:
    return re.split(r"(?<=[.!?])\s", passage)[0]


def write(model: str, messages: list[dict[str, Any]]) -> str:
    prompt = messages[-1]["content"]
    passages = passages_in(prompt)
    if '{"answers"' in prompt:
        return json.dumps({"answers": [answer_from(passage) for passage in passages]})
    return json.dumps({"questions": [question_to(passage) for passage in passages]})
