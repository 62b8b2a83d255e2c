"""The options of commands that ask an endpoint a great many questions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from typing import Any

import click

from workshop.asking.budget import Ceiling


@dataclass(frozen=True)
class AskingLimits:
    """How fast, how often, and for how much an endpoint is asked."""

    at_once: int
    tries: int
    timeout: float
    per_minute: int | None
    ceiling: Ceiling


_OPTIONS = (
    click.option(
        "--at-once",
        type=click.IntRange(1, 256),
        default=8,
        show_default=True,
        help="Maximum requests at the same time.",
    ),
    click.option(
        "--tries",
        type=click.IntRange(1, 50),
        default=8,
        show_default=True,
        help="How often a question is asked before it counts as failed.",
    ),
    click.option(
        "--timeout",
        type=click.FloatRange(1),
        default=300.0,
        show_default=True,
        help="Seconds to wait for an answer.",
    ),
    click.option("--per-minute", type=click.IntRange(1), help="Maximum requests per minute."),
    click.option(
        "--max-cost", type=click.FloatRange(0), help="Stop before the requests cost more than this."
    ),
    click.option(
        "--price-in",
        type=click.FloatRange(0),
        default=0.0,
        help="What a million tokens of a prompt cost.",
    ),
    click.option(
        "--price-out",
        type=click.FloatRange(0),
        default=0.0,
        help="What a million tokens of an answer cost.",
    ),
    click.option(
        "--max-tokens-total",
        type=click.IntRange(1),
        help="Stop before the requests take more tokens than this.",
    ),
)


def asking_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Adds them; the command gets them as `limits`."""

    @wraps(function)
    def with_limits(
        *,
        at_once: int,
        tries: int,
        timeout: float,
        per_minute: int | None,
        max_cost: float | None,
        price_in: float,
        price_out: float,
        max_tokens_total: int | None,
        **values: Any,
    ) -> Any:
        if max_cost is not None and not (price_in or price_out):
            raise click.UsageError(
                "--max-cost needs --price-in and --price-out, the prices of a million tokens."
            )
        ceiling = Ceiling(price_in, price_out, max_cost, max_tokens_total)
        limits = AskingLimits(at_once, tries, timeout, per_minute, ceiling)
        return function(limits=limits, **values)

    command: Callable[..., Any] = with_limits
    for option in reversed(_OPTIONS):
        command = option(command)
    return command
