"""Columns that judge an answer: which values say that it is good. Light."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec

from trainer.data.column_names import AGAINST, LESS_IS_BETTER, word_set, words_of

_GOOD = word_set(
    "true yes y good chosen accept accepted approve approved correct right positive pos up"
    " thumbs_up thumbsup thumb_up like liked win won preferred desirable helpful pass passed valid"
    " safe success better 👍 +1 ✓ ✅"
)
_BAD = word_set(
    "false no n bad reject rejected wrong incorrect negative neg down thumbs_down thumbsdown"
    " thumb_down dislike disliked lose lost loser undesirable unhelpful fail failed invalid unsafe"
    " failure worse 👎 ✗ ❌ tie"
)
_SCALES = ({0.0, 1.0}, {-1.0, 1.0}, {-1.0, 0.0, 1.0})


class Judgement(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A column that judges the answer. Without bounds and values, good is what a verdict says by
    itself (true, 1, "good")."""

    column: str = ""
    """Without one it judges nothing."""
    at_least: float | None = None
    """The least value that is good."""
    at_most: float | None = None
    """The greatest value that is good."""
    good: list[str | float | bool] = []
    """The values that are good."""

    def verdict(self, value: Any) -> bool | None:
        """Whether the value says that the answer is good; None if it cannot be read."""
        if self.good:
            return (
                None
                if value is None
                else any(_spelled(value) == _spelled(good) for good in self.good)
            )
        if self.at_least is None and self.at_most is None:
            return _verdict(value, self.column)
        number = _number(value)
        if number is None:
            return None
        return (self.at_least is None or number >= self.at_least) and (
            self.at_most is None or number <= self.at_most
        )


class Unread(NamedTuple):
    """A column that cannot be left aside, why, and how it might judge the answer, if it does."""

    column: str
    why: str
    judgement: Judgement | None = None


def _verdict(value: Any, column: str) -> bool | None:
    good = _plain_verdict(value)
    return good if good is None or not {*words_of(column)} & AGAINST else _reversed(value, good)


def _reversed(value: Any, good: bool) -> bool:
    """A column `rejected` says true of bad answers; a word such as "bad" means the same in any
    column."""
    spelled = _spelled(value)
    return (
        not good
        if spelled in ("true", "false", "yes", "no", "y", "n") or _number(value) is not None
        else good
    )


def _plain_verdict(value: Any) -> bool | None:
    if isinstance(value, bool):
        return value
    number = _number(value)
    if number is not None:
        return number == 1 if number in (-1, 0, 1) else None
    spelled = _spelled(value)
    if spelled in _GOOD or spelled in _BAD:
        return spelled in _GOOD
    return None


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        return float(value)
    except (ValueError, OverflowError):
        return None


def _spelled(value: Any) -> str:
    number = _number(value)
    return str(number) if number is not None else re.sub(r"[\s-]+", "_", str(value).strip().lower())


def unread_judgement(column: str, kind: str, values: Sequence[Any]) -> Unread | None:
    """Why a column's values are no verdicts, with what to say in the recipe; None if they are."""
    numbers = {number for value in values if (number := _number(value)) is not None}
    readable = all(_plain_verdict(value) is not None for value in values)
    if readable and (
        not numbers
        or numbers in _SCALES
        or (kind == "verdict" and any(numbers <= scale for scale in _SCALES))
    ):
        return None
    ignored = f'or ignore it: ignore = ["{column}"]'
    if len(numbers) == len({*map(str, values)}) and numbers:
        extent = (
            f"runs from {min(numbers):g} to {max(numbers):g}"
            if len(numbers) > 1
            else f"is {min(numbers):g}"
        )
        if {*words_of(column)} & LESS_IS_BETTER:
            judgement, way = Judgement(column, at_most=min(numbers)), f"at_most = {min(numbers):g}"
        else:
            judgement, way = (
                Judgement(column, at_least=max(numbers)),
                f"at_least = {max(numbers):g}",
            )
        says = f"{extent} in the first rows: say in [format] which answers are good"
    else:
        examples = list(
            dict.fromkeys(
                shortened(value) for value in values if isinstance(value, str | int | float)
            )
        )
        if not examples:
            return Unread(
                column,
                f"`{column}` may be a verdict on the answer, but does not contain plain values:"
                f" map another column, {ignored}",
            )
        judgement, way = (
            Judgement(column, good=[*examples[:1]]),
            f"good = {msgspec.json.encode(examples[:1]).decode()}",
        )
        says = (
            f"has {', '.join(examples[:4])}, which may be a verdict on the answer: say in"
            " [format] which values are good"
        )
    return Unread(
        column,
        f'`{column}` {says}, judgement = {{ column = "{column}", {way} }}, {ignored}',
        judgement,
    )


def shortened(value: Any) -> str:
    is_literal = value is None or isinstance(value, bool | int | float)
    text = msgspec.json.encode(value).decode() if is_literal else str(value)
    return text if len(text) <= 40 else f"{text[:37]}..."
