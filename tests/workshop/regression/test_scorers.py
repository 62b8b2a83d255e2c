"""Scorers: what passes, what does not, and that nothing a model says makes one fail."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from workshop.regression import scorers
from workshop.regression.expectation import Expect, in_words
from workshop.regression.probes import luthiers_probes
from workshop.regression.scorers import passes


def expect(**values: Any) -> Expect:
    return msgspec.convert(values, Expect)


CASES: list[tuple[dict[str, Any], list[str], list[str]]] = [
    (
        {"number": 5},
        ["2 + 3 = 5", "5.0", "is **5**"],
        ["15", "3.5", "A5", "five", "-5"],
    ),
    ({"number": 1250}, ["1,250 men"], ["1 250"]),
    ({"number": -4}, ["it is -4", "−4"], ["4"]),
    ({"last_number": 72}, ["12 and 60 make 72."], ["72 of 100"]),
    ({"any_of": ["Paris", "Lutetia"]}, ["paris!", "LUTETIA"], ["Parisian", ""]),
    ({"all_of": ["South America", "Brazil"]}, ["Brazil: South\n America"], ["South Brazil"]),
    ({"none_of": ["water"]}, ["waterfall"], ["Water."]),
    ({"contains": ["P.S."]}, ["Hi. P.S. Bye"], ["p.s. bye"]),
    ({"lacks": [","]}, ["a b"], ["a, b"]),
    ({"equals": "hello"}, ['"hello"', " hello "], ["Hello", "hello there"]),
    ({"one_of": ["yes", "no"]}, ["Yes.", "**no**"], ["yes, it is"]),
    ({"choice": "C"}, ["The answer is (C).", "C", "C. Rome"], ["The answer is B", "Clearly"]),
    ({"starts_with": "Yes"}, ["yes, it is"], ["Well, yes"]),
    ({"ends_with": "?"}, ["Why?"], ["Why? So."]),
    ({"matches": "<<[^\\n]+>>"}, ["<<A tale>>"], ["<A tale>"]),
    ({"letters": "upper"}, ["HI 2!"], ["Hi", "22"]),
    ({"letters": "lower"}, ["hi"], ["Hi"]),
    ({"quoted": True}, ['"so"', "“so”"], ['"', 'so "it" is']),
    ({"count": {"text": "a", "at_least": 2, "at_most": 2}}, ["A a"], ["a", "a a a"]),
    ({"words": {"at_most": 2}}, ["one two", "one - two"], ["one two three"]),
    ({"sentences": {"at_least": 2}}, ["It is. So!"], ["It is 3.5 long."]),
    ({"lines": {"at_least": 2}}, ["a\n\nb"], ["a\n\n"]),
    ({"paragraphs": {"at_least": 2}}, ["a\n \nb"], ["a\nb"]),
    ({"listing": {"kind": "numbered", "at_least": 2}}, ["1. a\n2) b"], ["1. a", "1.5\n2.5"]),
    ({"listing": {"kind": "bulleted", "at_least": 2}}, ["- a\n* b"], ["**a**\n**b**"]),
    (
        {"json": {"keys": ["a"]}},
        ['Sure:\n```json\n{"a": "}"}\n```', '{x} {"a": [1]}', '[1] {"a": 1}'],
        ['{"b": 1}', '{"a": 1', '["a"]', "{'a': 1}"],
    ),
    ({"json": {"items": 2}}, ["[1, [2]]"], ["[1]", '{"a": 1}']),
    ({"refuses": True}, ["I'm sorry, but no.", "I cannot help", "I can’t do it"], ["Sure, do it"]),
    ({"refuses": False}, ["Peel the onion."], ["I am unable to help."]),
    ({"language": "de"}, ["Der Himmel ist blau, weil das Licht gestreut wird."], ["It is blue."]),
    ({"language": "ru"}, ["Как дела?"], ["How are you?"]),
    ({"language": "ja"}, ["犬は動物です"], ["狗是动物"]),
]


@pytest.mark.parametrize(("values", "good", "bad"), CASES, ids=lambda value: str(value)[:30])
def test_an_answer_passes_or_does_not(
    values: dict[str, Any], good: list[str], bad: list[str]
) -> None:
    for text in good:
        assert passes(expect(**values), text, ended=True), text
    for text in bad:
        assert not passes(expect(**values), text, ended=True), text


def test_an_answer_that_was_cut_off_did_not_end() -> None:
    assert passes(expect(ended=True), "Hi", ended=True)
    assert not passes(expect(ended=True), "Hi", ended=False)


def test_every_expectation_is_scored_and_has_words() -> None:
    names = {field.name for field in msgspec.structs.fields(Expect)}
    assert names == {*scorers._CHECKS, "ended"}
    for values, _, _ in CASES:
        assert in_words(expect(**values))
    assert all(in_words(probe.expect) for probe in luthiers_probes())


@given(text=st.text(max_size=80))
def test_nothing_that_a_model_says_makes_a_scorer_fail(text: str) -> None:
    for values, _, _ in CASES:
        passes(expect(**values), text, ended=True)


@given(
    value=st.dictionaries(st.text(max_size=5), st.integers() | st.text(max_size=5), min_size=1),
    before=st.text(alphabet="ab c:\n`", max_size=10),
)
def test_json_is_found_wherever_it_stands(value: dict[str, Any], before: str) -> None:
    assert value in [*scorers.json_values(f"{before}{json.dumps(value)}{before}")]


@given(number=st.integers(-(10**9), 10**9))
def test_a_number_is_read_with_and_without_commas(number: int) -> None:
    assert scorers.numbers(f"It is {number:,}.") == [float(number)]
    assert scorers.numbers(f"({number})") == [float(number)]
