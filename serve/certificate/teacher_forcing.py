"""Teacher forcing in transformers: one sample at a time, and logits only where a trained token is
predicted."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import torch

from serve.certificate.measured import Scores
from serve.certificate.turns import Sample

# positions whose probabilities are worked out at once: a row is a float32 of every token there is
_ROWS = 64


def scores(
    model: Any, device: str, samples: Sequence[Sample], scored: Callable[[float], None]
) -> Scores:
    """Each trained token's log-probability after the tokens that stand before it. `scored` hears of
    each sample's seconds."""
    log_probabilities: list[float] = []
    first: list[int] = []
    resolutions: list[float] = []
    for sample in samples:
        began = time.monotonic()
        with torch.inference_mode():
            _score_sample(model, device, sample, log_probabilities, first, resolutions)
        scored(time.monotonic() - began)
    return Scores(
        log_probabilities,
        first,
        resolution=sum(resolutions) / len(resolutions),
        epsilon=torch.finfo(model.dtype).eps,
    )


def _score_sample(
    model: Any,
    device: str,
    sample: Sample,
    log_probabilities: list[float],
    first: list[int],
    resolutions: list[float],
) -> None:
    ids = torch.tensor([sample.input_ids], device=device)
    positions = torch.tensor(sample.scored, device=device)
    logits = model(input_ids=ids, use_cache=False, logits_to_keep=positions - 1).logits[0]
    epsilon = torch.finfo(logits.dtype).eps
    for rows, token_ids in zip(logits.split(_ROWS), ids[0, positions].split(_ROWS), strict=True):
        values = rows.float().log_softmax(-1)
        log_probabilities += values.gather(-1, token_ids[:, None])[:, 0].tolist()
        best = rows.max(-1)
        first += best.indices.tolist()
        resolutions += (
            epsilon * torch.exp2(torch.log2(best.values.float().abs().clamp_min(1e-6)).floor())
        ).tolist()
