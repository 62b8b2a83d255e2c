"""Which tokens end an answer: the rule by which vLLM 0.32 reads a model's files, as pure functions.
`models.folder.ModelFolder` reads the files."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any


def listed_stops(
    generation_config: Mapping[str, Any] | None, config: Mapping[str, Any]
) -> list[int]:
    """The stop tokens of generation_config.json. Only if there is no such file (None), those of
    config.json: the outer ones, else text_config's.

    A config.json without any means the default of its class in transformers (2 for a Llama), which
    is not known here.
    """
    if generation_config is not None:
        stops = generation_config.get("eos_token_id")
    else:
        stops = config.get("eos_token_id")
        if stops is None:
            stops = (config.get("text_config") or {}).get("eos_token_id")
    if stops is None:
        return []
    return stops if isinstance(stops, list) else [stops]


def stop_ids(listed: Iterable[int], eos_token_id: int | None) -> frozenset[int]:
    """The tokens that a server ends an answer at: the listed ones and the tokenizer's eos token."""
    eos = () if eos_token_id is None else (eos_token_id,)
    return frozenset((*listed, *eos))
