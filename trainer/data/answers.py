"""One answer of several: a list under an answer's name holds alternatives, never pieces of one
text. Light."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from trainer.data.column_names import kind_of, words_of
from trainer.data.formats_turns import turn_keys
from trainer.data.judgements import Judgement

_ANSWER_KEYS = (
    "text",
    "content",
    "answer",
    "response",
    "output",
    "completion",
    "value",
    "generated_text",
    "generation",
    "span",
)
_BEST_FIRST = frozenset(("rank", "ranks", "ranking"))
_WHOLE_SCORES = (
    "overall_score",
    "score",
    "rating",
    "reward",
    "rank",
    "overall_rating",
    "fine_grained_score",
)


class Answer(NamedTuple):
    """`value` is text, or messages; `is_chosen`: others were left aside, as the data says. `met` is
    the policy that is met, and why."""

    value: Any
    is_chosen: bool = False
    met: tuple[str, str] | None = None


def ranking_of(row: Mapping[str, Any], column: str) -> str | None:
    """The column that has a number for each answer of a list."""
    answers = row.get(column)
    if not isinstance(answers, list) or len(answers) < 2 or not _alternatives(answers):
        return None
    return next(
        (
            name
            for name, value in row.items()
            if kind_of(name) == "score" and _are_numbers(value, len(answers))
        ),
        None,
    )


def one_answer(
    row: Mapping[str, Any], column: str, value: Any, ranking: str | None = None
) -> Answer:
    """The answer in a column's value: the best of a list where the data says which that is, else
    the first of them and a policy."""
    if isinstance(value, dict) and turn_keys(value) is None and "type" not in value:
        return _of_object(row, column, value, ranking)
    if not isinstance(value, list) or not _alternatives(value):
        return Answer(value)
    answers = [_text(item) for item in value]
    if not answers:
        return Answer("")
    if len({str(answer).strip() for answer in answers}) == 1:
        return Answer(answers[0])
    if ranking is not None and _are_numbers(row.get(ranking), len(answers)):
        return Answer(answers[_best(row[ranking], ranking)], True)
    return _judged(column, value, answers)


def _judged(column: str, value: list[Any], answers: list[Any]) -> Answer:
    """By what each alternative says of itself."""
    items = [item for item in value if isinstance(item, dict)]
    shared = (
        [key for key in items[0] if all(key in item for item in items)]
        if len(items) == len(value)
        else []
    )
    scores = sorted(
        (key for key in shared if kind_of(key) == "score"),
        key=lambda key: (key not in _WHOLE_SCORES, key),
    )
    for key in scores:
        numbers = [item[key] for item in items]
        if _are_numbers(numbers, len(items)) and (key in _WHOLE_SCORES or len(scores) == 1):
            return Answer(answers[_best(numbers, key)], True)
    for key in shared:
        if kind_of(key) != "verdict":
            continue
        verdicts = [Judgement(key).verdict(item[key]) for item in items]
        if True in verdicts:
            return Answer(answers[verdicts.index(True)], True)
        if None not in verdicts:
            return Answer(
                answers[0],
                met=(
                    "rejected",
                    f"`{column}` has {len(answers)} answers, and `{key}` marks none of them as"
                    " good",
                ),
            )
    return Answer(
        answers[0],
        met=(
            "alternatives",
            f"`{column}` has {len(answers)} answers, and nothing says which one is best",
        ),
    )


def _of_object(
    row: Mapping[str, Any], column: str, value: dict[str, Any], ranking: str | None
) -> Answer:
    """An object with the answer in it; a list of texts there has as many right answers (SQuAD)."""
    inner = next((value[key] for key in _ANSWER_KEYS if key in value), None)
    if isinstance(inner, list) and all(isinstance(text, str) for text in inner):
        return Answer(inner[0] if inner else "", len({*inner}) > 1)
    return Answer(inner) if isinstance(inner, str) else Answer(value)


def _alternatives(value: list[Any]) -> bool:
    """Whether the items are whole answers: texts, objects with a text, or lists of messages;
    messages and parts of a content are not."""
    return all(
        isinstance(item, str)
        or (
            isinstance(item, dict)
            and turn_keys(item) is None
            and "type" not in item
            and isinstance(_text(item), str)
        )
        or (isinstance(item, list) and bool(item) and all(turn_keys(message) for message in item))
        for item in value
    )


def _text(item: Any) -> Any:
    return (
        next((item[key] for key in _ANSWER_KEYS if isinstance(item.get(key), str)), None)
        if isinstance(item, dict)
        else item
    )


def _are_numbers(value: Any, length: int) -> bool:
    return (
        isinstance(value, list)
        and len(value) == length
        and all(isinstance(item, int | float) and not isinstance(item, bool) for item in value)
    )


def _best(numbers: Sequence[float], name: str) -> int:
    best = min(numbers) if {*words_of(name)} & _BEST_FIRST else max(numbers)
    return numbers.index(best)
