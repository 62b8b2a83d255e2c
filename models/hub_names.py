"""Names of the Hugging Face hub where a path is expected: what a user pastes. Light: no network."""

from __future__ import annotations

import re
from pathlib import Path

HUB = "hub:"
_NAME = r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}"
_PASTED = re.compile(
    rf"(?:hf://|hub:|(?:https?://)?(?:www\.)?(?:huggingface\.co|hf\.co)/)(?P<kind>models/|datasets/|spaces/)?(?P<name>{_NAME})(?:[/?#@:].*)?",
    re.IGNORECASE,
)
# Paths of files, which no repository is called after.
_FILE = re.compile(
    r"\.(jsonl?|ndjson|csv|tsv|parquet|txt|md|gz|gzip|zstd?|zip|tar|xlsx?|arrow|db|ya?ml|toml|gguf|safetensors|bin|pth?)\Z",
    re.I,
)


def is_url(text: str) -> bool:
    return "://" in text


def hub_name(text: str) -> str:
    """The owner/name that `text` stands for: an address of the hub, hub:owner/name, or the bare
    name; "" if it stands for none."""
    pasted = _PASTED.fullmatch(text.strip())
    if pasted:
        return pasted["name"]
    bare = re.fullmatch(_NAME, text.strip())
    return bare[0] if bare and not _FILE.search(bare[0]) else ""


def hub_name_of_path(path: Path) -> str:
    """The same for a bare name that was taken for a path: its last two parts, if there is no folder
    of the first one's name."""
    return "" if path.parent.exists() else hub_name("/".join(path.parts[-2:]))
