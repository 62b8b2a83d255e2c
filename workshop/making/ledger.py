"""The ledger of a making: one line a passage (or turn of a transcript), which says what became of
it. Light."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Literal

import msgspec

from workshop.making.location import Location

State = Literal["kept", "context", "rejected", "unanswered"]

REASONS = {
    "beginning": "it is what the next passages continue",
    "alone": "nothing follows it",
    "too_short": "it has too few words",
    "repeated": "it nearly equals an earlier passage",
    "unreadable": "the model's answer is not the JSON that the prompt asks for",
    "cut_off": "the model's answer was cut off",
    "no_question": "the question does not end with a question mark, or has several lines",
    "length": "the question has too few or too many words",
    "banned_word": "the question has words that the recipe forbids",
    "language": "the question is in another language than the passage",
    "gives_away": "the question gives the answer away",
    "not_answered": "asked back, the model found no answer in the passage",
    "other_answer": "asked back, the model answered with words that the passage does not have",
    "duplicate": "the question nearly equals an earlier one",
    "dropped_speaker": "its speaker is left out",
    "no_question_before": "no user speaks before it",
    "no_answer_after": "no assistant speaks after it",
    "too_long": "it is longer than a conversation may be",
    "no_answer": "the endpoint gave no answer",
}
"""Why a passage is not an answer in the data, by code."""


class Entry(msgspec.Struct, frozen=True, omit_defaults=True):
    number: int
    location: Location
    state: State
    reason: str = ""
    """A code of REASONS; empty for what is kept."""
    detail: str = ""
    question: str = ""
    part: str = ""
    """The file of the data that has it: "train" or "heldout"."""


def counts(entries: Iterable[Entry]) -> dict[str, int]:
    """By state, then by reason ("rejected: length")."""
    counter: Counter[str] = Counter()
    for entry in entries:
        counter[entry.state] += 1
        if entry.state == "rejected":
            counter[f"rejected: {entry.reason}"] += 1
    return dict(counter)
