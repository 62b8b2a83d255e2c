"""Where an axis has its figures, and how they read: steps of 1, 2 or 5, and units that keep them
short."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Literal

from workshop.runs.curve import Span

Unit = Literal["plain", "count", "bytes"]

_SI = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))


def nice_step(width: float, most: int) -> float:
    """The smallest step of 1, 2 or 5 times a power of ten that cuts `width` into at most `most`
    parts."""
    raw = width / max(1, most)
    power = 10.0 ** math.floor(math.log10(raw))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= raw * (1 - 1e-9))


def linear_ticks(span: Span, most: int) -> list[float]:
    """At most `most` + 1 round values inside the stretch; more where these would be fewer than two,
    for one figure alone says nothing of a scale."""
    if span.width <= 0:
        return [span.low]
    for parts in (most, 2 * most, 4 * most, 8 * most):
        step = nice_step(span.width, parts)
        first, last = math.ceil(span.low / step - 1e-9), math.floor(span.high / step + 1e-9)
        if last > first:
            break
    return [number * step for number in range(first, last + 1)]


def log_ticks(span: Span, most: int) -> list[float]:
    """Round values for a stretch of positive ones on a logarithmic axis: powers of ten, then 1-2-5,
    then even steps."""
    low, high = math.log10(span.low), math.log10(span.high)
    if high - low >= max(1, most):
        step = math.ceil((high - low) / most)
        return [
            10.0**power
            for power in range(math.ceil(low - 1e-9), math.floor(high + 1e-9) + 1)
            if power % step == 0
        ]
    for factors in ((1,), (1, 3), (1, 2, 5)):
        powers = range(math.floor(low), math.ceil(high) + 1)
        ticks = [
            factor * 10.0**power
            for power in powers
            for factor in factors
            if span.low <= factor * 10.0**power * (1 + 1e-9)
        ]
        ticks = [tick for tick in ticks if tick <= span.high * (1 + 1e-9)]
        if len(ticks) >= max(2, min(3, most)):
            return ticks
    return [tick for tick in linear_ticks(span, most) if tick > 0]


def labels(ticks: list[float], unit: Unit = "plain", logarithmic: bool = False) -> list[str]:
    """The ticks' figures, all in the same unit and with the decimals that tell neighbours apart."""
    if logarithmic:
        return [
            f"{tick:g}" if unit == "plain" and 1e-3 <= tick < 1e4 else labels([tick], unit)[0]
            for tick in ticks
        ]
    largest = max((abs(tick) for tick in ticks), default=0.0)
    if unit == "bytes":
        size, name = next(((size, f" {si}B") for size, si in _SI if largest >= size), (1.0, " B"))
    elif largest >= 10_000:
        size, name = next((size, si) for size, si in _SI if largest >= size)
    elif 0 < largest < 1e-2:
        return [scientific(tick) for tick in ticks]
    else:
        size, name = 1.0, ""
    smallest = min((b - a for a, b in pairwise(ticks)), default=largest or 1.0)
    return [f"{tick / size:.{decimals(smallest / size)}f}{name}" if tick else "0" for tick in ticks]


def decimals(step: float) -> int:
    """How many decimals tell multiples of `step` apart, at most 6."""
    return next(
        (
            places
            for places in range(6)
            if abs(step * 10**places - round(step * 10**places)) < 1e-6 * max(1.0, step)
        ),
        6,
    )


def scientific(value: float) -> str:
    """ "2e-4", "1.5e-4": no zeros that say nothing."""
    if value == 0:
        return "0"
    mantissa, _, exponent = f"{value:.2e}".partition("e")
    return f"{float(mantissa):g}e{int(exponent)}"


def exact(value: float, unit: Unit = "plain") -> str:
    """A value of a readout: six significant figures, which is what a single-precision number
    has."""
    if unit == "bytes":
        size, name = next(
            ((size, f" {si}B") for size, si in _SI if abs(value) >= size), (1.0, " B")
        )
        return f"{value / size:.4g}{name}"
    if unit == "count":
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"
    if value and not 1e-3 <= abs(value) < 1e6:
        mantissa, _, exponent = f"{value:.3e}".partition("e")
        return f"{mantissa}e{int(exponent)}"
    return f"{value:.6g}" if value == int(value) else f"{value:#.6g}"
