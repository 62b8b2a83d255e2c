"""The tokens that a server ends an answer at, read from a model's files without a tokenizer. Light."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def stored_stops(directory: Path) -> set[int]:
    """Those of generation_config.json (else config.json), and the tokenizer's eos token."""
    generation, config = _read(directory / "generation_config.json"), _read(directory / "config.json")
    listed = generation.get("eos_token_id", config.get("eos_token_id"))
    stops = {int(token) for token in (listed if isinstance(listed, list) else [] if listed is None else [listed])}
    end = _read(directory / "tokenizer_config.json").get("eos_token")
    text = end.get("content") if isinstance(end, dict) else end
    added = _read(directory / "tokenizer.json").get("added_tokens") or []
    return stops | {int(token["id"]) for token in added if token.get("content") == text}


def _read(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}
