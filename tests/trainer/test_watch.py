"""When a loss has exploded, and when it only looks like it."""

from __future__ import annotations

import json
import math
import random

import pytest

from trainer.run.divergence import LossWatch


def run(losses: list[float]) -> tuple[int | None, LossWatch]:
    """The step at which the run is stopped."""
    watch = LossWatch()
    for step, loss in enumerate(losses, 1):
        if watch.see(step, loss, 1.0):
            return step, watch
    return None, watch


def falling(
    count: int, noise: float, seed: int, start: float = 4.0, end: float = 1.2
) -> list[float]:
    chance = random.Random(seed)
    return [
        max(0.0, end + (start - end) * math.exp(-step / 30) + chance.gauss(0.0, noise))
        for step in range(count)
    ]


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_no_number_stops_at_once(value: float) -> None:
    watch = LossWatch()
    assert watch.see(1, 2.0, 1.0) is None
    assert "step 2" in str(watch.see(2, value, 1.0))
    assert watch.onset == 2
    assert "gradient" in str(LossWatch().see(1, 2.0, value))


@pytest.mark.parametrize("height", [5.0, 11.0, 300.0])
def test_a_loss_that_stays_high_stops_after_ten_steps(height: float) -> None:
    calm = falling(60, 0.1, 1)
    step, watch = run([*calm, *[height] * 30])
    assert (step, watch.onset) == (70, 61)


@pytest.mark.parametrize("seed", range(40))
@pytest.mark.parametrize("noise", [0.02, 0.3, 0.8])
def test_noise_and_noisy_starts_do_not(seed: int, noise: float) -> None:
    chance = random.Random(seed)
    start = [chance.uniform(0.5, 12.0) for _ in range(15)]
    assert run([*start, *falling(400, noise, seed)])[0] is None


def test_spikes_and_low_outliers_do_not() -> None:
    losses = falling(200, 0.1, 3)
    losses[3] = 0.01
    for step in (50, 51, 52, 90, 91, 130):
        losses[step] = 9.0
    losses[100:109] = [7.0] * 9
    assert run(losses)[0] is None


def test_learning_by_heart_and_a_slow_rise_do_not() -> None:
    by_heart = [*falling(80, 0.05, 5, end=0.02), *falling(80, 0.1, 6, start=0.3, end=0.3)]
    assert run(by_heart)[0] is None
    assert run([1.5 + 0.004 * step for step in range(200)])[0] is None


def test_its_state_goes_through_a_checkpoint() -> None:
    losses = [*falling(30, 0.1, 8), *[8.0] * 10]
    for cut in (3, 12, 33):
        watch = LossWatch()
        for step, loss in enumerate(losses[:cut], 1):
            assert watch.see(step, loss, 1.0) is None
        other = LossWatch()
        other.restore(json.loads(json.dumps(watch.state())))
        stopped = [
            step for step, loss in enumerate(losses[cut:], cut + 1) if other.see(step, loss, 1.0)
        ]
        assert stopped == [40]
