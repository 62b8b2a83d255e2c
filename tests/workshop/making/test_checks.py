"""What is wrong with a question, and what is not."""

from __future__ import annotations

import pytest

from workshop.making.checks import NearTexts, answer_fault, question_fault
from workshop.making.questions import read_list
from workshop.making.recipe import Checks

pytestmark = [pytest.mark.heavy, pytest.mark.xdist_group("documents")]

PASSAGE = (
    "The lamp itself was made in Birmingham in 1867. It burned rapeseed oil until the war, and"
    " paraffin after it; the lenses, however, were French."
)
CHECKS = Checks(never=["passage", "the author"])


@pytest.mark.parametrize(
    ("question", "code"),
    [
        ("Where was the lamp of the lighthouse made?", ""),
        ("Where was the lamp of the lighthouse made", "no_question"),
        ("Where was it made?\nAnd when?", "no_question"),
        ("Why?", "length"),
        ("What does this passage say about lamps?", "banned_word"),
        ("What do passages under the house lead to?", ""),
        ("Why does the author speak of lamps?", "banned_word"),
        ("Wo wurde die Lampe des Leuchtturms eigentlich hergestellt?", "language"),
        ("Is it true that it burned rapeseed oil until the war came?", "gives_away"),
        ("\u201cWhere was the lamp of the lighthouse made?\u201d", ""),
    ],
)
def test_a_question_by_itself(question: str, code: str) -> None:
    fault = question_fault(question, PASSAGE, "en", CHECKS)
    assert (fault.code if fault else "") == code


def test_a_quotation_may_be_asked_about_in_its_language() -> None:
    german = "Die Lampe wurde in Birmingham gebaut, und die Linsen kamen aus Frankreich. " * 4
    question = "Woher kamen die Linsen der Lampe im Leuchtturm?"
    assert question_fault(question, german, "en", CHECKS) is None


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        ("It was made in Birmingham in 1867.", ""),
        ("", "not_answered"),
        ("Edinburgh, by the engineers Stevenson and sons.", "other_answer"),
        ("The lamp was made.", "gives_away"),
    ],
)
def test_the_answer_that_is_asked_back(answer: str, code: str) -> None:
    fault = answer_fault(answer, "Where was the lamp made?", PASSAGE, CHECKS)
    assert (fault.code if fault else "") == code


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ('{"questions": ["A?", "B?"]}', ["A?", "B?"]),
        ('```json\n{"questions": ["A?", "B?"]}\n```', ["A?", "B?"]),
        ('<think>two of them</think>\n{"questions": ["A?", "B?"]}', ["A?", "B?"]),
        ('{"questions": ["A?"]}', None),
        ('{"questions": ["A?", null]}', None),
        ('{"question": ["A?", "B?"]}', None),
        ('Here: {"questions": ["A?", "B?"]}', None),
        ('["A?", "B?"]', None),
        ("", None),
    ],
)
def test_an_answer_is_read_strictly(content: str, expected: list[str] | None) -> None:
    read = read_list({"message": {"content": content}, "reason": "stop"}, "questions", 2)
    assert (read if isinstance(read, list) else None) == expected
    cut_off = read_list({"message": {"content": content}, "reason": "length"}, "questions", 2)
    assert not isinstance(cut_off, list) and cut_off.code == "cut_off"


def test_near_texts_are_found_whatever_their_capitals_and_spaces() -> None:
    near = NearTexts(0.7)
    assert near.nearest(3, PASSAGE) is None
    assert near.nearest(5, PASSAGE.upper().replace(" ", "  ")) == 3
    assert near.nearest(6, PASSAGE.replace("1867", "1868")) == 3
    assert (
        near.nearest(7, "Every third Sunday the brass was polished with vinegar and ash.") is None
    )
