"""The plan of the server that a certificate asks."""

from __future__ import annotations

import math
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path

from jobs.gpus import gpus
from jobs.luthier_error import LuthierError
from models import certificate
from models.folder import ModelFolder
from serve.gpu_share import needed
from serve.plan import BASE, GPU_MEMORY, ServerPlan
from serve.planning import NamedAdapter, ServeOptions, make_plan
from serve.ports import free_port

_HOST = "127.0.0.1"
# A prompt's log-probabilities are as wide as the vocabulary: so many tokens of it at once. On a
# GPU vLLM cuts them itself, and what it compiles is for one number of batched tokens.
CHUNK = "--max-num-batched-tokens=1024"
_MOST_CACHE = 3_000_000_000  # bytes of `memory_needed` that one conversation may take


def server_plan(
    directory: Path, adapters: list[NamedAdapter], longest: int, *, gpu: bool
) -> ServerPlan:
    """A server for conversations of at most `longest` tokens; on a GPU with room for the model's
    whole context one like a chat's, so that each finds compiled what the other has."""
    make = partial(make_plan, directory, BASE, adapters, _HOST, free_port(_HOST))
    short = ServeOptions(dtype="bfloat16", context_length=longest, max_loras=1, extra_args=[CHUNK])
    if not gpu:
        return make(short)
    share = certificate.memory_needed(directory) / min(card.total for card in gpus())
    short = replace(short, gpu_memory=min(GPU_MEMORY, share))
    if _whole_context_bytes(directory) <= _MOST_CACHE:
        with suppress(LuthierError):  # not enough is free
            return make(replace(short, context_length=None, max_loras=None, extra_args=[]))
    return make(short)


def _whole_context_bytes(directory: Path) -> float:
    """What one conversation takes that is as long as the model can; no end where that is not in its
    config."""
    length = ModelFolder(directory).context_length
    if length is None:
        return math.inf
    return needed(directory, rank=0, adapters=0).cache_bytes_per_token * length
