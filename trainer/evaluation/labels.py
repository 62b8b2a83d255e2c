"""Classification-like data: whether the references are few short labels, and how well answers hit
them. Light."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

# Beyond these nobody would call them labels.
_MOST_LABELS = 50
_LONGEST_LABEL = 40  # characters
_MOST_WORDS = 5
_LEAST_EACH = 2.5  # references a label, on average: labels come back, answers hardly do
_EDGES = re.compile(r"^[\W_]+|[\W_]+$")


class LabelCounts(NamedTuple):
    """Of one label: how many references are it, how many answers say it, how many answers say it
    rightly."""

    references: int
    answers: int
    right: int

    @property
    def f1(self) -> float:
        return (
            2 * self.right / (self.references + self.answers)
            if self.references + self.answers
            else 0.0
        )


class LabelScores(NamedTuple):
    """`accuracy` is the share of answers that are the reference's label; `macro_f1` the mean of the
    labels' F1; both from 0 to 1. `other` counts the answers that are no label at all."""

    accuracy: float
    macro_f1: float
    labels: dict[str, LabelCounts]
    other: int


def label(text: str) -> str:
    """A text as a label: without case, surrounding punctuation and doubled blanks."""
    return " ".join(_EDGES.sub("", text).lower().split())


def no_labels(references: Sequence[str]) -> str:
    """Why the references are no labels; "" if they are."""
    counts = Counter(map(label, references))
    long = next(
        (
            text
            for text in counts
            if not text or len(text) > _LONGEST_LABEL or len(text.split()) > _MOST_WORDS
        ),
        None,
    )
    if long is not None:
        return f"one of them is {long[:60]!r}" if long else "one of them has no letter"
    if len(counts) < 2:
        return "they are all the same"
    if len(counts) > min(_MOST_LABELS, len(references) / _LEAST_EACH):
        return f"{len(references)} of them have {len(counts)} different texts"
    return ""


def score_labels(answers: Sequence[str], references: Sequence[str]) -> LabelScores:
    """Micro accuracy and macro F1 over the labels that occur among the references."""
    true, predicted = [label(text) for text in references], [label(text) for text in answers]
    right = Counter(name for name, other in zip(true, predicted, strict=True) if name == other)
    of_reference, of_answer = Counter(true), Counter(predicted)
    labels = {
        name: LabelCounts(count, of_answer[name], right[name])
        for name, count in of_reference.most_common()
    }
    other = sum(count for name, count in of_answer.items() if name not in of_reference)
    return LabelScores(
        right.total() / len(true),
        sum(counts.f1 for counts in labels.values()) / len(labels),
        labels,
        other,
    )
