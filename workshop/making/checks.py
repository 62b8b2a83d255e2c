"""Whether a question can be trained on: its form, what it tells, and whether its passage answers
it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from trainer.data.duplicates import pieces, similarity, sketch
from workshop.making.languages import language_of, other_language
from workshop.making.recipe import Checks

# Languages without spaces have a word a sign.
_WORD = re.compile(r"[\u3040-\u30ff\u3400-\u9fff]|[^\W_\u3040-\u30ff\u3400-\u9fff]+")
_QUESTION_END = re.compile(r"[?\uff1f\u061f][\"'\u201d\u2019\u00bb)]*\Z")
_STEM, _SHORT_WORD = 5, 3
_TOLD = 0.8  # the share of the answer's words in the question that gives it away
_BANDS, _ROWS = 16, 4


@dataclass(frozen=True)
class Fault:
    """Why something is left out: a code of `ledger.REASONS`, and what shows it."""

    code: str
    detail: str = ""


def words(text: str) -> list[str]:
    return [word.casefold() for word in _WORD.findall(text)]


def question_fault(question: str, passage: str, language: str, checks: Checks) -> Fault | None:
    """What can be seen without asking anybody."""
    question_words = words(question)
    if not _QUESTION_END.search(question) or "\n" in question:
        return Fault("no_question")
    if not checks.fewest_words <= len(question_words) <= checks.most_words:
        return Fault("length", f"{len(question_words)} words")
    folded = f" {' '.join(question_words)} "
    banned = next((phrase for phrase in checks.never if f" {phrase.casefold()} " in folded), "")
    if banned:
        return Fault("banned_word", banned)
    other = other_language(question, language) if checks.language else ""
    if other and other != language_of(passage):  # a document may quote another language at length
        return Fault("language", f"{other}, not {language}")
    if copied := _copied(question_words, words(passage), checks.copied_words):
        return Fault("gives_away", copied)
    return None


def answer_fault(answer: str, question: str, passage: str, checks: Checks) -> Fault | None:
    """Whether the answer that was given from the passage shows that the question fits it."""
    answer_stems = _stems(answer)
    if not answer_stems:
        return Fault("not_answered")
    common = len(answer_stems & _stems(passage)) / len(answer_stems)
    if common < checks.overlap:
        return Fault("other_answer", f"{common:.0%} of its words are the passage's")
    if len(answer_stems & _stems(question)) / len(answer_stems) >= _TOLD:
        return Fault("gives_away", answer[:80])
    return None


def _copied(question: Sequence[str], passage: Sequence[str], count: int) -> str:
    """A run of so many words that the question has from the passage."""
    runs = {tuple(passage[index : index + count]) for index in range(len(passage) - count + 1)}
    for index in range(len(question) - count + 1):
        if tuple(question[index : index + count]) in runs:
            return " ".join(question[index : index + count])
    return ""


def _stems(text: str) -> set[str]:
    """The beginnings of the words that carry meaning: endings differ between question and
    answer."""
    return {
        word[:_STEM]
        for word in words(text)
        if len(word) > _SHORT_WORD or word.isdigit() or not word.isascii()
    }


@dataclass
class NearTexts:
    """Texts in their order; each is compared with the earlier ones."""

    threshold: float
    _texts: list[str] = field(default_factory=list)
    _numbers: list[int] = field(default_factory=list)
    _bands: dict[tuple[int, bytes], list[int]] = field(default_factory=dict)

    def nearest(self, number: int, text: str) -> int | None:
        """The number of an earlier text that this one nearly equals. One that equals none is kept
        for the later ones."""
        hashes = _pieces(text)
        rows = sketch(hashes).reshape(_BANDS, _ROWS)
        keys = [(band, row.tobytes()) for band, row in enumerate(rows)]
        candidates = {index for key in keys for index in self._bands.get(key, ())}
        for index in sorted(candidates):
            if similarity(hashes, _pieces(self._texts[index])) > self.threshold:
                return self._numbers[index]
        for key in keys:
            self._bands.setdefault(key, []).append(len(self._texts))
        self._texts.append(text)
        self._numbers.append(number)
        return None


def _pieces(text: str):  # type: ignore[no-untyped-def]
    return pieces([{"role": "user", "content": text}])
