"""Two answers side by side and a judgement of which is the better one, as comparisons of models
are published: the better one is trained. Light."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from trainer.data.column_names import kind_of
from trainer.data.formats_turns import (
    TURN_COLUMNS,
    Converted,
    Message,
    RowProblem,
    decoded,
    message_of,
    turn_keys,
)
from trainer.data.judgements import shortened
from trainer.data.row import folded

Row = Mapping[str, Any]

_STEMS = ("response", "answer", "output", "completion", "reply", "generation", "candidate")
_SUFFIXES = (("a", "b"), ("1", "2"), ("0", "1"))
_PROMPTS = ("prompt", "question", "instruction", "query", "input", "context", *TURN_COLUMNS)
_SYSTEMS = ("system", "system_prompt", "system_message")
# Below 0 the first answer is better, above it the second one.
_SCALES = ("overall_preference", "preference_strength")
_VERDICTS = (
    "winner", "preference", "preferred", "better", "better_response", "better_response_id",
    "preferred_response", "preferred_answer", "choice", "verdict",
)  # fmt: skip
_ONE_HOT = ("winner_model_a", "winner_model_b")
_BEFORE_SIDE = re.compile(
    rf"(?:model|assistant|option|{'|'.join(_STEMS)})s?_?(?=(?:[ab]|\d|first|second)$)"
)
_TIES = ("", "none", "nan", "null", "tie", "ties", "draw", "both", "neither", "equal", "same")


class Comparison(NamedTuple):
    """The columns of two answers and a judgement of which is the better one."""

    prompt: str
    """Holds what both answer."""
    answers: tuple[str, str]
    """The first and the second one."""
    suffixes: tuple[str, str]
    """What tells the answers' columns apart: `a` and `b`, say."""
    verdict: str
    """Says which is better."""


def comparison_of(row: Row) -> Comparison | None:
    """The columns of a comparison; None for a row that is none, or whose judgement is a number that
    does not say by itself which answer it means."""
    comparison = _columns(row)
    if comparison is None or _is_unclear(row, comparison):
        return None
    return comparison


def is_unclear(row: Row) -> bool:
    """Whether a row is a comparison with a judgement of which nobody knows what it means."""
    comparison = _columns(row)
    return comparison is not None and _is_unclear(row, comparison)


def own_columns(row: Row) -> Iterator[str]:
    """The columns that a comparison reads, and further judgements of it, which decide nothing."""
    comparison = _columns(row)
    if comparison is not None:
        yield from (comparison.prompt, *comparison.answers, comparison.verdict)
        for column in row:
            if folded(column) in _SYSTEMS or kind_of(column) in ("verdict", "score"):
                yield column


def better_answer(row: Row) -> Converted:
    """What is asked and the better answer."""
    comparison = comparison_of(row)
    if comparison is None:
        raise RowProblem("other_format", "the row does not have two answers and a judgement")
    column = comparison.answers[_better_side(row, comparison)]
    systems = [text for name, text in row.items() if folded(name) in _SYSTEMS and text]
    messages: list[Message] = [{"role": "system", "content": text} for text in systems[:1]]
    prompt, answer = decoded(row[comparison.prompt]), decoded(row[column])
    if _are_texts(prompt) and _are_texts(answer) and len(prompt) == len(answer):
        for question, text in zip(prompt, answer, strict=True):
            messages += [
                {"role": "user", "content": question},
                {"role": "assistant", "content": text},
            ]
    else:
        messages += _said(prompt, "user", comparison.prompt) + _said(answer, "assistant", column)
    return Converted(messages, None, ("chosen_answer",))


def _columns(row: Row) -> Comparison | None:
    names = {folded(name): name for name in reversed([*row])}
    if "chosen" in names or "rejected" in names:
        return None
    answers = next(
        (
            ((names[first], names[second]), suffixes)
            for stem in _STEMS
            for suffixes in _SUFFIXES
            for gap in ("_", "")
            if (first := f"{stem}{gap}{suffixes[0]}") in names
            and (second := f"{stem}{gap}{suffixes[1]}") in names
        ),
        None,
    )
    verdict = next(
        (names[name] for name in (*_SCALES, *_VERDICTS, _ONE_HOT[0]) if name in names), None
    )
    prompt = next((names[name] for name in _PROMPTS if name in names), None)
    if answers is None or verdict is None or prompt is None:
        return None
    return Comparison(prompt, *answers, verdict)


def _is_unclear(row: Row, comparison: Comparison) -> bool:
    """A number is clear on a scale around 0, and where the answers are numbered from 0."""
    name = folded(comparison.verdict)
    if name in (*_SCALES, *_ONE_HOT) or comparison.suffixes == ("0", "1"):
        return False
    return _number(row[comparison.verdict]) is not None


def _better_side(row: Row, comparison: Comparison) -> int:
    """0 or 1; RowProblem where neither answer is the better one."""
    value, name = row[comparison.verdict], folded(comparison.verdict)
    number = _number(value)
    if name in _ONE_HOT:
        wins = [_number(row.get(column)) == 1 for column in _ONE_HOT]
        if any(wins):
            return wins.index(True)
    elif name in _SCALES:
        if number:
            return int(number > 0)
    elif number is not None:
        if number in (0, 1):
            return int(number)
    elif (side := _named_side(value, comparison)) is not None:
        return side
    elif folded(str(value)).partition("_")[0] not in _TIES:
        raise RowProblem(
            "no_winner",
            f"`{comparison.verdict}` is {shortened(value)}, which does not name an answer",
        )
    raise RowProblem(
        "no_winner", f"`{comparison.verdict}` is {shortened(value)}: neither answer is better"
    )


def _named_side(value: Any, comparison: Comparison) -> int | None:
    """Which answer a word names: "b", "model_b", "Response B", the column's own name."""
    word = folded(str(value)).strip("[]()_")
    if word in map(folded, comparison.answers):
        return [folded(column) for column in comparison.answers].index(word)
    suffix = _BEFORE_SIDE.sub("", word)
    for sides in (comparison.suffixes, ("a", "b"), ("first", "second")):
        if suffix in sides:
            return sides.index(suffix)
    return None


def _number(value: Any) -> float | None:
    try:
        return None if value is None else float(value)
    except (TypeError, ValueError, OverflowError):
        return None


def _are_texts(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(text, str) for text in value)


def _said(value: Any, role: str, column: str) -> list[Message]:
    """A text as one message; a message, or a list of them, as they are."""
    if isinstance(value, str):
        return [{"role": role, "content": value}]
    items = [value] if isinstance(value, dict) else value
    keys = turn_keys(items[0]) if isinstance(items, list) and items else None
    if keys is None:
        raise RowProblem("other_format", f"`{column}` contains neither text nor messages")
    return [message_of(item, keys, {}, (), index) for index, item in enumerate(items)]
