"""Which steps of a run count: the one notion of it for all of bench/gpu.

The first steps compile kernels, warm caches and make the optimizer's states; they say nothing of a
run's speed. How many those are depends on the engine, the versions and on what was compiled before,
so it is seen from the steps themselves.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from itertools import pairwise

FEWEST = 6
"""Settled steps that a speed needs."""
_SLOWER = 1.25  # times the usual time of a token: something else was done in that step
_WARM = 3  # which never count


class Unsettled(Exception):
    """Too few steps are settled for a speed."""


def first_settled(tokens: Sequence[float], seconds: Sequence[float]) -> int:
    """The number of steps before the first one that counts: after it, none in the first half is
    slower for its tokens than the second half usually is. Raises Unsettled."""
    rates = [second / max(count, 1) for count, second in zip(tokens, seconds, strict=True)]
    half = len(rates) // 2
    if len(rates) - half < FEWEST:
        raise Unsettled(f"{len(rates)} steps are too few: at least {2 * FEWEST} are needed")
    usual = statistics.median(rates[half:])
    slow = [number for number, rate in enumerate(rates[:half]) if rate > _SLOWER * usual]
    first = max(_WARM, slow[-1] + 1 if slow else 0)
    if len(rates) - first < FEWEST or first >= half:
        raise Unsettled(
            f"step {first} of {len(rates)} still took {_SLOWER} times the usual time of a token"
        )
    return first


def speed(tokens: Sequence[float], seconds: Sequence[float]) -> dict[str, float]:
    """Tokens a second over the settled steps, and which those are."""
    first = first_settled(tokens, seconds)
    return {
        "tokens_per_second": round(sum(tokens[first:]) / sum(seconds[first:])),
        "settled_from": first,
        "settled_steps": len(tokens) - first,
        "tokens_per_step": round(statistics.mean(tokens[first:])),
    }


def speed_of_run(events: Sequence[dict[str, object]]) -> dict[str, float]:
    """The same of a run's events: a step's time is that from its predecessor to it, with all that
    lies between. The last step may be smaller, and does not count."""
    steps = [event for event in events if event["kind"] == "step"][:-1]
    pairs = list(pairwise(steps))
    return speed(
        [float(later["tokens"]) - float(step["tokens"]) for step, later in pairs],  # type: ignore[arg-type]
        [float(later["t"]) - float(step["t"]) for step, later in pairs],  # type: ignore[arg-type]
    )
