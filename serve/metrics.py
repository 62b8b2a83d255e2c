"""What a server's /metrics says of the last second: who waits, how quick it is, how full its cache
is.

vLLM counts since its start; rates and delays are differences between two looks. Names are those of
vLLM 0.32; what one of them lacks is not told.
"""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass, field

_LINE = re.compile(r"^(vllm:\w+)(?:\{(.*)\})? (\S+)(?: \d+)?$")
_LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')
_WANTED = frozenset(
    {
        "vllm:num_requests_running",
        "vllm:num_requests_waiting",
        "vllm:kv_cache_usage_perc",
        "vllm:prompt_tokens_total",
        "vllm:generation_tokens_total",
        "vllm:time_to_first_token_seconds_sum",
        "vllm:time_to_first_token_seconds_count",
        "vllm:time_to_first_token_seconds_bucket",
        "vllm:inter_token_latency_seconds_sum",
        "vllm:inter_token_latency_seconds_count",
        "vllm:inter_token_latency_seconds_bucket",
        "vllm:lora_requests_info",
    }
)


@dataclass(frozen=True)
class Look:
    """One answer of /metrics: sums over all engines and models by name; of histograms, the counts
    up to each bound in seconds."""

    at: float
    values: dict[str, float]
    buckets: dict[str, dict[float, float]] = field(default_factory=dict)
    adapters: tuple[str, ...] = ()
    engines: int = 1


@dataclass(frozen=True)
class Delay:
    """In seconds. `high` is a bound that 95 % keep, as far as the histogram's buckets tell; None
    where even the last bucket was passed."""

    mean: float
    high: float | None


@dataclass(frozen=True)
class Live:
    """The server at work. Tokens are per second; `cache` is a share of 1. Delays are None where
    nothing was answered in between.

    `adapters` are the tuned models that vLLM answers with now: the one thing that it tells by
    model.
    """

    running: int
    waiting: int
    tokens_in: float
    tokens_out: float
    cache: float
    first_token: Delay | None
    between_tokens: Delay | None
    adapters: tuple[str, ...]


def look(text: str, at: float) -> Look:
    """What an answer of /metrics tells. `at` is when it came, on a monotonic clock."""
    values: dict[str, float] = defaultdict(float)
    buckets: dict[str, dict[float, float]] = defaultdict(lambda: defaultdict(float))
    newest, adapters, engines = 0.0, "", set()
    for line in text.splitlines():
        sample = _LINE.match(line)
        if sample is None or sample[1] not in _WANTED:
            continue
        name, labels, value = (
            sample[1].removeprefix("vllm:"),
            dict(_LABEL.findall(sample[2] or "")),
            float(sample[3]),
        )
        if name == "lora_requests_info":  # its value is when it was said
            if value >= newest:
                newest, adapters = value, labels.get("running_lora_adapters", "")
        elif name.endswith("_bucket"):
            buckets[name.removesuffix("_bucket")][float(labels["le"])] += value
        else:
            values[name] += value
            engines.add(labels.get("engine", "0"))
    names = tuple(sorted({name for name in adapters.split(",") if name}))
    return Look(
        at,
        dict(values),
        {name: dict(counts) for name, counts in buckets.items()},
        names,
        max(1, len(engines)),
    )


def between(before: Look, now: Look) -> Live | None:
    """What happened between two looks. None if the server was started anew in between, or if no
    time has passed."""
    seconds = now.at - before.at
    totals = ("prompt_tokens_total", "generation_tokens_total")
    if seconds <= 0 or any(now.values.get(name, 0) < before.values.get(name, 0) for name in totals):
        return None
    tokens_in, tokens_out = (
        (now.values.get(name, 0) - before.values.get(name, 0)) / seconds for name in totals
    )
    return Live(
        running=int(now.values.get("num_requests_running", 0)),
        waiting=int(now.values.get("num_requests_waiting", 0)),
        tokens_in=tokens_in,
        tokens_out=tokens_out,
        cache=now.values.get("kv_cache_usage_perc", 0) / now.engines,
        first_token=_delay("time_to_first_token_seconds", before, now),
        between_tokens=_delay("inter_token_latency_seconds", before, now),
        adapters=now.adapters if now.values.get("num_requests_running", 0) else (),
    )


def _delay(name: str, before: Look, now: Look, share: float = 0.95) -> Delay | None:
    count = now.values.get(f"{name}_count", 0) - before.values.get(f"{name}_count", 0)
    if count <= 0:
        return None
    total = now.values.get(f"{name}_sum", 0) - before.values.get(f"{name}_sum", 0)
    earlier = before.buckets.get(name, {})
    grown = sorted(
        (bound, counted - earlier.get(bound, 0))
        for bound, counted in now.buckets.get(name, {}).items()
    )
    high = next((bound for bound, counted in grown if counted >= share * count), None)
    return Delay(total / count, None if high is None or high == float("inf") else high)
