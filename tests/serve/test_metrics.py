"""Rates and delays from two looks at /metrics."""

from __future__ import annotations

from serve.metrics import Delay, between, look

TEXT = """
# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{engine="0",model_name="base"} 2.0
vllm:num_requests_running{engine="1",model_name="base"} 1.0
vllm:num_requests_waiting{engine="0",model_name="base"} 4.0
vllm:kv_cache_usage_perc{engine="0",model_name="base"} 0.5
vllm:kv_cache_usage_perc{engine="1",model_name="base"} 0.1
vllm:prompt_tokens_total{engine="0",model_name="base"} %(tokens)d
vllm:generation_tokens_total{engine="0",model_name="base"} %(tokens)d
vllm:time_to_first_token_seconds_sum{engine="0",model_name="base"} %(sum)s
vllm:time_to_first_token_seconds_count{engine="0",model_name="base"} %(count)d
vllm:time_to_first_token_seconds_bucket{engine="0",le="0.1",model_name="base"} %(quick)d
vllm:time_to_first_token_seconds_bucket{engine="0",le="0.5",model_name="base"} %(most)d
vllm:time_to_first_token_seconds_bucket{engine="0",le="+Inf",model_name="base"} %(count)d
vllm:lora_requests_info{max_lora="4",running_lora_adapters="old",waiting_lora_adapters=""} 1.0
vllm:lora_requests_info{max_lora="4",running_lora_adapters="captain,mate",\
waiting_lora_adapters=""} 2.0
other:metric{a="b"} nonsense
"""
FIRST = look(TEXT % {"tokens": 1000, "sum": 5.0, "count": 100, "quick": 90, "most": 99}, 10.0)


def test_what_happened_between_two_looks() -> None:
    live = between(
        FIRST,
        look(TEXT % {"tokens": 1600, "sum": 9.0, "count": 120, "quick": 100, "most": 117}, 12.0),
    )
    assert live is not None
    assert (live.running, live.waiting, live.tokens_in, live.tokens_out) == (3, 4, 300.0, 300.0)
    assert abs(live.cache - 0.3) < 1e-9  # the mean of the engines
    # 18 of the 20 new ones were within 0.5 s, which is no 95 of 100
    assert live.first_token == Delay(0.2, None)
    assert live.between_tokens is None
    assert live.adapters == ("captain", "mate")


def test_most_are_within_a_bound_that_is_told() -> None:
    live = between(
        FIRST,
        look(TEXT % {"tokens": 1000, "sum": 6.0, "count": 110, "quick": 95, "most": 109}, 11.0),
    )
    assert live is not None and live.first_token == Delay(0.1, 0.5)
    assert live.tokens_out == 0


def test_a_restart_in_between_tells_nothing() -> None:
    assert (
        between(
            FIRST, look(TEXT % {"tokens": 5, "sum": 0, "count": 0, "quick": 0, "most": 0}, 11.0)
        )
        is None
    )
    assert between(FIRST, FIRST) is None
    assert between(look("", 0.0), look("", 1.0)) is not None
