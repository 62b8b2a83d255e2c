"""A new model beside the old one: only what it was not trained on counts, and an equal model is as
near as can be."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from jobs.job import create
from jobs.luthier_error import LuthierError
from jobs.spec import Spec
from models.runs import Run
from serve.comparison.items import Item
from serve.comparison.journal import Entry
from serve.comparison.nearness import form, nearness, table
from serve.comparison.summary import Row
from workshop.rescue.beside import held_against
from workshop.rescue.questions import Question


def question(*contents: str) -> Question:
    roles = ("user", "assistant")
    return Question(
        [{"role": roles[index % 2], "content": content} for index, content in enumerate(contents)]
    )


def answered(text: str, reason: str = "stop") -> Entry:
    message = {"role": "assistant", "content": text}
    return {"error": None, "message": message, "reason": reason}


@pytest.fixture
def run() -> Run:
    """One that was trained on the second turn of a conversation."""
    job = create(Spec("run", "new", "trainer.worker"))
    folder = Run(job).folder
    folder.data.mkdir()
    turns = [("user", "A"), ("assistant", "B"), ("user", "C"), ("assistant", "D")]
    messages = [
        {"role": role, "content": content, **({"weight": 0} if content == "B" else {})}
        for role, content in turns
    ]
    folder.train_samples.write_text(json.dumps({"messages": messages}) + "\n")
    return Run(job)


def test_what_it_was_trained_on_is_left_out(run: Run, tmp_path: Path) -> None:
    questions = [question("A"), question("A", "B", "C"), question("E"), question("F")]
    entries = [answered("old"), answered("old"), None, answered("cut", "length")]
    comparison = held_against(run, questions, entries)
    assert [item.reference for item in comparison.items] == ["old"]
    assert comparison.left_out == {
        "trained on": 1,
        "without an answer": 1,
        "empty or cut off": 1,
    }
    with pytest.raises(LuthierError, match="1 trained on"):
        held_against(run, questions[1:2], entries[1:2])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('{"a": 1}', "JSON"),
        ("{a", "one line"),
        ("Look:\n```\nx\n```", "text with code"),
        ("1. a\n2. b", "text with a list"),
        ("| a |\n| b |", "text with a table"),
        ("a\n\nb", "paragraphs"),
        ("a\nb", "lines"),
    ],
)
def test_the_form_of_an_answer(text: str, expected: str) -> None:
    assert form(text) == expected


@pytest.mark.heavy
def test_the_figures_have_intervals_that_hold_them() -> None:
    rows = [
        Row(
            Item(({"role": "user", "content": str(number)},), f"The answer is {number}."),
            {
                "base": {"text": "No.", "error": None},
                "new": {"text": f"The answer is {number}.", "error": None},
            },
        )
        for number in range(20)
    ]
    likely = {"base": [-2.0 - number / 10 for number in range(20)], "new": [-0.5] * 20}
    figures = nearness(rows, ["base", "new"], likely)
    new, base = figures["models"]["new"], figures["models"]["base"]
    assert (new["chrF"]["mean"], new["same text"]["mean"], new["length"]["mean"]) == (100, 1, 1)
    assert new["same text"]["interval"][0] > 0.8 and base["same text"]["interval"][1] < 0.2
    low, high = new["nats a character"]["difference_interval"]
    assert low < new["nats a character"]["difference"] < high < 0
    lines = table(figures)
    assert lines[0] == ["model", "chrF", "same text", "same form", "length", "nats a character"]
    assert lines[2][2] == "100% [84%, 100%]"
