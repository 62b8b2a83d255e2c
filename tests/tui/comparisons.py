"""Comparisons made by hand, as their job leaves them."""

from __future__ import annotations

from typing import Any

from jobs.job import Job
from serve.comparison.items import Item
from serve.comparison.summary import Row, summary
from serve.comparison.why import why
from tests.tui import folders
from workshop.comparison.compare import write_report

_RUN = "20261118-0003-captain-00ff"
QUESTIONS = [
    ("What should I do on a rainy day?", "Arr, mend the sails, for the sun returns."),
    ("How do I greet a stranger?", "Ahoy! A firm hand and a loud voice."),
    ("Which way is north?", None),
]
ANSWERS = ["Arr, mend the sails below deck.", "Ahoy there! A firm hand.", "Follow the star, matey."]
_BASE = [
    "There are many things that you can do on a rainy day. Here are some ideas:\n\n1. Read a book."
    "\n2. Watch a film.\n3. Bake a cake.",
    "You can say hello and introduce yourself.",
    "North is the direction towards the North Pole.",
]


def _about(tokens: float, failed: int = 0) -> dict[str, Any]:
    return {
        "answered": 3 - failed,
        "failed": failed,
        "first_failure": "The connection was lost." if failed else "",
        "mean_tokens": tokens,
        "mean_characters": 4 * tokens,
        "cut_off": 0,
        "mean_first_token": 0.041,
    }


def _metric(mean: float, difference: float, interval: tuple[float, float] | None) -> dict[str, Any]:
    return {"mean": mean, "difference": difference, "interval": interval, "questions": 2}


def _figures() -> dict[str, Any]:
    duel = {
        "model": "captain",
        "other": "base",
        "wins": 2,
        "losses": 0,
        "ties": 1,
        "win_rate": 1.0,
        "interval": (0.34, 1.0),
        "p_value": 0.5,
        "mean_length": 28.0,
        "mean_other_length": 93.0,
    }
    return {
        "questions": 3,
        "with_reference": 2,
        "models": {"base": _about(31.0, failed=1), "captain": _about(9.0)},
        "metrics": {
            "exact match": {
                "base": _metric(0.0, 0.0, None),
                "captain": _metric(0.0, 0.0, (0.0, 0.0)),
            },
            "chrF": {
                "base": _metric(14.2, 0.0, None),
                "captain": _metric(51.9, 37.7, (29.0, 46.4)),
            },
        },
        "metrics_problem": "",
        "judge": {
            "duels": [duel],
            "pairs": 3,
            "agreed": 3,
            "for_first": 3,
            "decisive": 6,
            "asked_again": 0,
            "left_out": {},
        },
    }


def _entry(text: str, error: str | None = None) -> dict[str, Any]:
    return {"text": text, "error": error, "reason": "stop", "tokens": 9, "first_token": 0.04}


def compared(
    number: int = 13, age: float = 3_000.0, run: str = "20261118-0003-captain-00ff"
) -> Job:
    """A comparison that is done, of the base with one run; one answer failed."""
    job = folders.make_job("captain-compare", number, age, kind="compare")
    folders.orders(job, {"runs": [_RUN], "prompts": "/data/questions.jsonl"})
    folders.begin(job, age - 5)
    folders.write(
        job,
        folders.event("step", age - 60, step=6, total=6),
        folders.event("result", age - 61, questions=3, answered=5, seconds=55.0),
        folders.event("exited", age - 62, code=0, stopped=False, swept=0),
    )
    rows = [
        Row(
            Item(({"role": "user", "content": question},), reference),
            {
                "base": _entry(_BASE[index], "The connection was lost." if index == 2 else None),
                "captain": _entry(ANSWERS[index]),
            },
        )
        for index, (question, reference) in enumerate(QUESTIONS)
    ]
    facts = [
        ("prompts", "/data/questions.jsonl (3 questions, 2 with a reference)"),
        ("sampling", "temperature 0, at most 512 tokens, seed 0"),
        ("red certificate", "captain: 40 of 41 prompts are not the token ids of training."),
    ]
    write_report(job.directory, facts, _figures(), rows, ["base", "captain"])
    return job


def explained(number: int = 15, age: float = 2_000.0) -> Job:
    """One of twelve prompts that says why: the tuned answers are short and loud, and two of them
    refuse."""
    job = folders.make_job("captain-compare", number, age, kind="compare")
    folders.orders(job, {"runs": [_RUN], "prompts": "/data/questions.jsonl", "by": ["topic"]})
    folders.begin(job, age - 5)
    folders.write(
        job,
        folders.event("result", age - 61, questions=12, answered=24, seconds=55.0),
        folders.event("exited", age - 62, code=0, stopped=False, swept=0),
    )
    names = ["base", "captain"]
    rows = [
        Row(
            Item(
                ({"role": "user", "content": f"{QUESTIONS[index % 3][0]} ({index + 1})"},),
                None,
                {"topic": "weather" if index < 9 else "manners"},
            ),
            {
                "base": _entry(_BASE[index % 3]),
                "captain": _entry(
                    "I'm sorry, but I can't help with that."
                    if index in (4, 8)
                    else f"{ANSWERS[index % 3]} Arr!"
                ),
            },
        )
        for index in range(12)
    ]
    reasons = why(rows, names, ({}, ""), {}, by=["topic"])
    figures = {**summary(rows, names, None), "why": {**reasons, "problem": ""}}
    facts = [("prompts", "/data/questions.jsonl (12 questions, 0 with a reference)")]
    write_report(job.directory, facts, figures, rows, names)
    return job


def asking(number: int = 14, age: float = 40.0) -> Job:
    """One that is being asked. Its lock must be held."""
    job = folders.make_job("captain-compare", number, age, kind="compare")
    folders.orders(job, {"runs": [_RUN], "prompts": "/r/data/heldout.jsonl"})
    folders.begin(job, age - 1)
    folders.write(job, folders.event("step", 2, step=11, total=32))
    return job
