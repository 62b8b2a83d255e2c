"""The tokens that a server ends an answer at, read from a model's files without a tokenizer.
Light."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from jobs import foreign_json
from jobs.foreign_json import Damaged


def stored_stops(directory: Path) -> set[int]:
    """Those of generation_config.json (else config.json), and the tokenizer's eos token."""
    generation, config = (
        _read(directory / "generation_config.json"),
        _read(directory / "config.json"),
    )
    listed: Any = generation.get("eos_token_id", config.get("eos_token_id"))
    stops = {
        token
        for token in (listed if isinstance(listed, list) else [listed])
        if foreign_json.fits(token, int)
    }
    end = _read(directory / "tokenizer_config.json").get("eos_token")
    text = end.get("content") if isinstance(end, dict) else end
    added = _read(directory / "tokenizer.json").get("added_tokens")
    tokens: list[dict[str, Any]] = added if foreign_json.fits(added, list[dict[str, Any]]) else []  # type: ignore[assignment]
    return stops | {
        token["id"]
        for token in tokens
        if foreign_json.fits(token.get("id"), int) and token.get("content") == text
    }


def _read(path: Path) -> dict[str, Any]:
    try:
        return foreign_json.read_object(path, lenient=True)
    except (OSError, Damaged):
        return {}
