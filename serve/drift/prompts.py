"""What both models are asked: Luthier's own prompts by topic, those of a file, and held-out ones of
the run as the measure of what it was meant to change."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from models.run_folder import RunFolder
from serve.certificate.turns import choose_samples
from serve.client import ChatMessage
from serve.comparison.items import read_items

HELDOUT = "held out"
OF_FILE = "your prompts"
_MOST_HELDOUT = 12
_MOST_OF_FILE = 1000


@dataclass(frozen=True)
class Prompt:
    """A question with its topic. `token_ids` is the whole prompt where the data has it as such;
    otherwise the server renders `messages`."""

    topic: str
    messages: tuple[ChatMessage, ...]
    token_ids: tuple[int, ...] = ()

    @property
    def text(self) -> str:
        return str(self.messages[-1].get("content") or "") if self.messages else ""


def own_prompts() -> list[Prompt]:
    topics = tomllib.loads(Path(__file__).with_name("prompts.toml").read_text(encoding="utf-8"))
    return [
        Prompt(topic, ({"role": "user", "content": text},))
        for topic, texts in topics.items()
        for text in texts
    ]


def of_file(path: Path) -> list[Prompt]:
    """The prompts of a file: conversations (JSON Lines), or a text with one on each line."""
    return [Prompt(OF_FILE, item.messages) for item in read_items(path, _MOST_OF_FILE)]


def heldout_prompts(folder: RunFolder, context_length: int | None) -> Sequence[Prompt]:
    """Prompts of what was held out of the run, token for token. LuthierError without data."""
    _, samples = choose_samples(folder.data, context_length)
    prompts = [
        Prompt(
            HELDOUT, tuple(sample.messages[: turn.message]), tuple(sample.input_ids[: turn.start])
        )
        for sample in samples
        for turn in sample.turns
    ]
    return prompts[:_MOST_HELDOUT]
