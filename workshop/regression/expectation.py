"""What an answer to a probe must be like. Light: the words for it are shown beside the answers."""

from __future__ import annotations

from typing import Literal

import msgspec


class Span(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """How many there may be."""

    at_least: int = 0
    at_most: int | None = None

    def holds(self, count: int) -> bool:
        return self.at_least <= count and (self.at_most is None or count <= self.at_most)

    @property
    def in_words(self) -> str:
        least = f"at least {self.at_least}" if self.at_least else ""
        most = "" if self.at_most is None else f"at most {self.at_most}"
        return " and ".join(filter(None, (least, most))) or "any number of"


class Count(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """How often a text stands in the answer, whatever its case."""

    text: str
    at_least: int = 1
    at_most: int | None = None


class ListForm(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Lines that begin with "1." or with a bullet."""

    kind: Literal["numbered", "bulleted"]
    at_least: int = 1
    at_most: int | None = None


class Json(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A JSON value somewhere in the answer: an object with these keys, or an array of so many
    items."""

    keys: list[str] = []
    items: int | None = None


class Expect(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """All that is set must hold. Words are compared whole, and without regard to case."""

    number: float | None = None
    """A number of the answer equals it."""
    last_number: float | None = None
    """The last number of the answer equals it."""
    any_of: list[str] = []
    all_of: list[str] = []
    none_of: list[str] = []
    contains: list[str] = []
    """Each of these texts stands in the answer exactly so."""
    lacks: list[str] = []
    """None of these texts stands in it."""
    equals: str = ""
    one_of: list[str] = []
    """The whole answer is one of these, but for case and punctuation."""
    choice: str = ""
    """The letter of a multiple-choice question that the answer settles on."""
    starts_with: str = ""
    ends_with: str = ""
    matches: str = ""
    """A regular expression that some part of the answer fits."""
    letters: Literal["", "upper", "lower"] = ""
    quoted: bool = False
    count: Count | None = None
    words: Span | None = None
    sentences: Span | None = None
    lines: Span | None = None
    paragraphs: Span | None = None
    listing: ListForm | None = None
    json: Json | None = None
    refuses: bool | None = None
    language: str = ""
    """By its ISO 639-1 code, such as "de"."""
    ended: bool = False
    """The model ended its answer itself, before the limit of tokens."""


def in_words(expect: Expect) -> str:
    """Such as "contains the number 5"."""
    parts = [
        *_of_numbers(expect),
        *_of_words(expect),
        *_of_text(expect),
        *_of_form(expect),
    ]
    return "; ".join(parts)


def _of_numbers(expect: Expect) -> list[str]:
    return [
        *([] if expect.number is None else [f"contains the number {expect.number:g}"]),
        *([] if expect.last_number is None else [f"its last number is {expect.last_number:g}"]),
        *([f"settles on {expect.choice}"] if expect.choice else []),
    ]


def _of_words(expect: Expect) -> list[str]:
    return [
        *([f"contains {_or(expect.any_of)}"] if expect.any_of else []),
        *([f"contains {_and(expect.all_of)}"] if expect.all_of else []),
        *([f"does not contain {_or(expect.none_of)}"] if expect.none_of else []),
        *([f"contains exactly {_and(expect.contains)}"] if expect.contains else []),
        *([f"does not contain {_or(expect.lacks)}"] if expect.lacks else []),
        *([f"is one of {_or(expect.one_of)}"] if expect.one_of else []),
        *([f"is exactly {expect.equals}"] if expect.equals else []),
    ]


def _of_text(expect: Expect) -> list[str]:
    case = {"upper": "has only capital letters", "lower": "has no capital letters"}
    refusal = {True: "is a refusal", False: "is not a refusal"}
    return [
        *([f"begins with {expect.starts_with}"] if expect.starts_with else []),
        *([f"ends with {expect.ends_with}"] if expect.ends_with else []),
        *([f"fits {expect.matches}"] if expect.matches else []),
        *([case[expect.letters]] if expect.letters else []),
        *(["is in double quotation marks"] if expect.quoted else []),
        *([] if expect.refuses is None else [refusal[expect.refuses]]),
        *([f"is in the language {expect.language}"] if expect.language else []),
    ]


def _of_form(expect: Expect) -> list[str]:
    parts = []
    if expect.count is not None:
        span = Span(expect.count.at_least, expect.count.at_most).in_words
        parts.append(f"contains {expect.count.text} {span} times")
    for name in ("words", "sentences", "lines", "paragraphs"):
        span_of_name: Span | None = getattr(expect, name)
        if span_of_name is not None:
            parts.append(f"has {span_of_name.in_words} {name}")
    if expect.listing is not None:
        span = Span(expect.listing.at_least, expect.listing.at_most).in_words
        parts.append(f"has a {expect.listing.kind} list of {span} lines")
    if expect.json is not None:
        keys = f" with the keys {_and(expect.json.keys)}" if expect.json.keys else ""
        items = "" if expect.json.items is None else f" with {expect.json.items} items"
        parts.append(f"contains JSON{keys}{items}")
    if expect.ended:
        parts.append("ends by itself")
    return parts


def _or(words: list[str]) -> str:
    return " or ".join(words)


def _and(words: list[str]) -> str:
    return " and ".join(words)
