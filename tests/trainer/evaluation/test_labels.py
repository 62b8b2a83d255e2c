"""Telling labels from answers, and counting them."""

from __future__ import annotations

import pytest

from trainer.evaluation.labels import LabelCounts, label, no_labels, score_labels


@pytest.mark.parametrize(
    "references",
    [
        ["yes", "no"] * 4,
        ["Positive.", "negative", "POSITIVE", "neutral"] * 5,
        [f"class {n % 9}" for n in range(40)],
    ],
)
def test_few_short_texts_that_come_back_are_labels(references: list[str]) -> None:
    assert no_labels(references) == ""


@pytest.mark.parametrize(
    ("references", "why"),
    [
        (["Aye, set the timer for ten minutes. Fair winds!"] * 9, "one of them is 'aye"),
        ([f"Paris {n}" for n in range(12)], "12 of them have 12 different texts"),
        (["yes"] * 20, "they are all the same"),
        (["yes", "no", "..."], "one of them has no letter"),
        (["a", "b", "c"], "3 of them have 3 different texts"),
    ],
)
def test_other_texts_are_none_and_it_is_said_why(references: list[str], why: str) -> None:
    assert why in no_labels(references)


def test_case_punctuation_and_blanks_do_not_matter() -> None:
    assert label('  "Very   Positive!" ') == label("very positive") == "very positive"
    assert label("C++ code") == "c++ code"
    assert label("Größe") == "größe"


def test_counts_accuracy_and_macro_f1() -> None:
    references = ["yes", "yes", "yes", "no"]
    found = score_labels(["Yes.", "no", "maybe", "no"], references)
    assert found.accuracy == 0.5
    assert found.labels == {"yes": LabelCounts(3, 1, 1), "no": LabelCounts(1, 2, 1)}
    assert found.macro_f1 == pytest.approx((2 * 1 / (3 + 1) + 2 * 1 / (1 + 2)) / 2)
    assert found.other == 1
    assert score_labels(references, references)[:2] == (1.0, 1.0)
