"""Which steps of a benchmark count."""

from __future__ import annotations

import pytest

from bench.gpu.settled import Unsettled, first_settled, speed, speed_of_run

TOKENS = [1000.0] * 20


def test_steps_that_compile_do_not_count() -> None:
    """Also the five that bench/gpu/two_gpus.py once counted."""
    seconds = [9.0, 0.1, 0.1, 0.1, 0.1, 0.4, 0.3, 0.4, 0.1, 0.1, *[0.1] * 10]
    assert first_settled(TOKENS, seconds) == 8
    assert speed(TOKENS, seconds) == {
        "tokens_per_second": 10_000,
        "settled_from": 8,
        "settled_steps": 12,
        "tokens_per_step": 1000,
    }
    assert first_settled(TOKENS, [0.1] * 20) == 3


def test_a_step_with_more_tokens_may_take_longer() -> None:
    tokens = [1000.0, 4000.0] * 10
    assert first_settled(tokens, [count / 10_000 for count in tokens]) == 3


@pytest.mark.parametrize(
    "seconds", [[0.1] * 9, [1.0] * 10 + [0.1] * 10, [0.5] * 9 + [0.9] + [0.1] * 10]
)
def test_what_never_settles_has_no_speed(seconds: list[float]) -> None:
    with pytest.raises(Unsettled):
        speed(TOKENS[: len(seconds)], seconds)


def test_of_a_run_the_last_step_does_not_count() -> None:
    events = [
        {"kind": "step", "t": 10 + 0.1 * number, "tokens": 500 * number} for number in range(20)
    ]
    events.append({"kind": "step", "t": 99.0, "tokens": 10_001})
    events.insert(0, {"kind": "plan", "t": 1.0})
    assert speed_of_run(events)["tokens_per_second"] == pytest.approx(5000, abs=1)
