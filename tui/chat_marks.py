"""What can be drawn over an answer instead of Markdown: the lens, and the words that other answers have not."""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass
from typing import Literal

from serve.lens import Shift

Mark = Literal["plain", "likelier", "much-likelier", "unlikelier", "much-unlikelier", "own"]

_SOME, _MUCH = 0.4, 1.6  # nats: one and a half times, five times as likely
_WORDS = re.compile(r"\s+|\w+|[^\w\s]")


@dataclass(frozen=True)
class Marked:
    """An answer in pieces, which together are all of it, and a line that says what the marks mean."""

    pieces: tuple[tuple[str, Mark], ...]
    legend: str


def lens(shifts: list[Shift], base: str, tuned: str) -> Marked:
    """How much likelier the tuned model makes each token."""
    pieces = tuple((shift.text, _mark(shift.difference)) for shift in shifts)
    mean = sum(shift.difference for shift in shifts) / len(shifts) if shifts else 0.0
    up = sum(shift.difference > _SOME for shift in shifts)
    down = sum(shift.difference < -_SOME for shift in shifts)
    counts = f"{up} of {len(shifts)} pieces likelier to {tuned}, {down} to {base}; {mean:+.2f} nats a piece"
    return Marked(pieces, counts)


def _mark(difference: float) -> Mark:
    if difference > _SOME:
        return "much-likelier" if difference > _MUCH else "likelier"
    if difference < -_SOME:
        return "much-unlikelier" if difference < -_MUCH else "unlikelier"
    return "plain"


def words_of(text: str) -> list[str]:
    """Words, marks and the spaces between them."""
    return _WORDS.findall(text)


def own_words(text: str, other: str, name: str) -> Marked:
    """The words of `text` that have no counterpart in the other answer."""
    mine, theirs = words_of(text), words_of(other)
    pieces: list[tuple[str, Mark]] = []
    own = 0
    for kind, start, end, _, _ in difflib.SequenceMatcher(None, mine, theirs, autojunk=False).get_opcodes():
        if kind == "insert":
            continue
        mark: Mark = "plain" if kind == "equal" else "own"
        own += 0 if kind == "equal" else sum(not word.isspace() for word in mine[start:end])
        pieces.append(("".join(mine[start:end]), mark))
    total = sum(not word.isspace() for word in mine)
    return Marked(tuple(pieces), f"{own} of {total} words are not in the answer of {name}")
