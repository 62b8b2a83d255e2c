"""Two texts, word by word: which words of each the other lacks."""

from __future__ import annotations

import re
from difflib import SequenceMatcher

from textual.content import Content

_WORD = re.compile(r"\w+|[^\w\s]|\s+")


def differing(text: str, other: str) -> list[tuple[str, bool]]:
    """The text in pieces; True for those that the other text lacks at this place."""
    words, other_words = _WORD.findall(text), _WORD.findall(other)
    pieces: list[tuple[str, bool]] = []
    for kind, start, end, _, _ in SequenceMatcher(
        None, words, other_words, autojunk=False
    ).get_opcodes():
        if start < end:
            pieces.append(("".join(words[start:end]), kind != "equal"))
    return pieces


def marked(text: str, other: str, style: str) -> Content:
    """The text, the words that the other one lacks in `style`."""
    parts: list[str | tuple[str, str]] = []
    for piece, differs in differing(text, other):
        words = piece.strip()
        before, _, after = piece.partition(words) if words else (piece, "", "")
        parts += [before, (words, style) if differs else words, after]
    return Content.assemble(*parts)
