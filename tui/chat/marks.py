"""What can be drawn over an answer instead of Markdown: the lens, and the words that other answers
have not."""

from __future__ import annotations

import difflib
import re
from collections import Counter
from dataclasses import dataclass
from typing import Literal

from serve.lens import Shift
from tui.shared.heat import heat_of

Mark = Literal[
    "plain", "faint", "likelier", "much-likelier", "unlikelier", "much-unlikelier", "own"
]

_WORDS = re.compile(r"\s+|\w+|[^\w\s]")


@dataclass(frozen=True)
class Marked:
    """An answer in pieces, which together are all of it, and a legend that is drawn with the same
    marks."""

    pieces: tuple[tuple[str, Mark], ...]
    legend: tuple[tuple[str, Mark], ...]


def lens(shifts: list[Shift], base: str, tuned: str) -> Marked:
    """How much likelier the tuned model makes each token."""
    pieces: tuple[tuple[str, Mark], ...] = tuple(
        (shift.text, heat_of(shift.difference)) for shift in shifts
    )
    mean = sum(shift.difference for shift in shifts) / len(shifts) if shifts else 0.0
    counts = Counter(mark for _, mark in pieces)
    legend: tuple[tuple[str, Mark], ...] = (
        (f"likelier to {tuned}", "likelier"),
        (f" {counts['likelier']}, ", "faint"),
        ("by far", "much-likelier"),
        (f" {counts['much-likelier']}; ", "faint"),
        (f"likelier to {base}", "unlikelier"),
        (f" {counts['unlikelier']}, ", "faint"),
        ("by far", "much-unlikelier"),
        (f" {counts['much-unlikelier']}; of {len(pieces)} pieces, {mean:+.2f} nats each", "faint"),
    )
    return Marked(pieces, legend)


def words_of(text: str) -> list[str]:
    """Words, marks and the spaces between them."""
    return _WORDS.findall(text)


def own_words(text: str, other: str, name: str) -> Marked:
    """The words of `text` that have no counterpart in the other answer."""
    mine, theirs = words_of(text), words_of(other)
    pieces: list[tuple[str, Mark]] = []
    count = 0
    for kind, start, end, _, _ in difflib.SequenceMatcher(
        None, mine, theirs, autojunk=False
    ).get_opcodes():
        if kind == "insert":
            continue
        mark: Mark = "plain" if kind == "equal" else "own"
        if mark == "own":
            count += sum(not word.isspace() for word in mine[start:end])
        pieces.append(("".join(mine[start:end]), mark))
    total = sum(not word.isspace() for word in mine)
    return Marked(
        tuple(pieces),
        ((f"{count} of {total} words", "own"), (f" are not in the answer of {name}", "faint")),
    )
