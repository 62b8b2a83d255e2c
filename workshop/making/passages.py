"""A document's text is cut into passages, at the borders of paragraphs and sentences; each says
where it stands."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import sentencex

from workshop.making.documents.document import Block, Document
from workshop.making.location import Location
from workshop.making.recipe import Passages

GAP = "\n\n"
"""Between the paragraphs of a document's text."""
_BREATH = re.compile(r"(?<=[,;:\u2014\u3001\uff0c])\s*|\s+")


@dataclass(frozen=True)
class Passage:
    """`number` counts over all documents. `previous` is the passage before it;
    `speaker` is empty but in a transcript whose turns are kept."""

    number: int
    text: str
    location: Location
    language: str
    previous: str = ""
    speaker: str = ""


@dataclass(frozen=True)
class _Piece:
    """A paragraph or a part of one."""

    start: int
    end: int
    block: Block
    chapter: str


def text_of(document: Document) -> str:
    """The cleaned text that locations count in."""
    return GAP.join(block.text for block in document.blocks)


def passages_of(
    document: Document, limits: Passages, language: str, first_number: int
) -> list[Passage]:
    text = text_of(document)
    passages: list[Passage] = []
    previous = ""
    for chapter in _chapters(document):
        pieces = [part for piece in chapter for part in _parts(text, piece, limits, language)]
        for group in _merged(pieces, limits):
            location = _location(document.file, group)
            content = text[location.start : location.end]
            number = first_number + len(passages)
            passages.append(Passage(number, content, location, language, previous))
            previous = content
    return passages


def turns_of(document: Document, language: str, first_number: int) -> list[Passage]:
    """What each speaker of a transcript says in a stretch."""
    blocks = [piece for chapter in _chapters(document) for piece in chapter]
    return [
        Passage(
            number,
            piece.block.text,
            _location(document.file, [piece]),
            language,
            speaker=piece.block.speaker,
        )
        for number, piece in enumerate(blocks, first_number)
    ]


def _location(file: str, pieces: Sequence[_Piece]) -> Location:
    first, last = pieces[0], pieces[-1]
    return Location(
        file,
        first.start,
        last.end,
        first.chapter,
        first.block.page,
        first.block.begins,
        last.block.ends,
    )


def _chapters(document: Document) -> Iterator[list[_Piece]]:
    """The paragraphs between two headings."""
    start, title = 0, ""
    chapter: list[_Piece] = []
    for block in document.blocks:
        if block.is_heading:
            if chapter:
                yield chapter
            chapter, title = [], block.text
        else:
            chapter.append(_Piece(start, start + len(block.text), block, title))
        start += len(block.text) + len(GAP)
    if chapter:
        yield chapter


def _parts(text: str, piece: _Piece, limits: Passages, language: str) -> Iterator[_Piece]:
    """A paragraph that is too long, in parts of about the same length."""
    length = piece.end - piece.start
    if length <= limits.longest:
        yield piece
        return
    target = length / -(-length // limits.longest)
    start = end = piece.start
    for stop in _borders(text, piece, limits.longest, language):
        is_too_long = stop - start > limits.longest
        if end > start and (is_too_long or end - start >= target):
            yield from _trimmed(text, piece, start, end)
            start = end
        end = stop
    yield from _trimmed(text, piece, start, end)


def _trimmed(text: str, piece: _Piece, start: int, end: int) -> Iterator[_Piece]:
    content = text[start:end]
    start += len(content) - len(content.lstrip())
    end -= len(content) - len(content.rstrip())
    if end > start:
        yield _Piece(start, end, piece.block, piece.chapter)


def _borders(text: str, piece: _Piece, longest: int, language: str) -> Iterator[int]:
    """The ends of its sentences; of a sentence that is too long, those of its clauses, or words."""
    paragraph = text[piece.start : piece.end]
    stop = 0
    for sentence in sentencex.segment(language, paragraph):
        begin = stop
        stop += len(sentence)
        if stop - begin > longest:
            yield from _cut(paragraph, begin, stop, longest, piece.start)
        yield piece.start + stop
    if stop < len(paragraph):
        yield piece.end


def _cut(paragraph: str, begin: int, stop: int, longest: int, offset: int) -> Iterator[int]:
    while stop - begin > longest:
        window = paragraph[begin : begin + longest]
        breaths = [match.end() for match in _BREATH.finditer(window) if match.end() > longest // 2]
        clauses = [end for end in breaths if window[:end].rstrip()[-1] in ",;:\u2014\u3001\uff0c"]
        begin += (clauses or breaths or [longest])[-1]
        yield offset + begin


def _merged(pieces: Sequence[_Piece], limits: Passages) -> list[list[_Piece]]:
    """Neighbours together until they are long enough; what is left over joins those before it."""
    groups: list[list[_Piece]] = []
    for piece in pieces:
        last = groups[-1] if groups else None
        is_short = last is not None and last[-1].end - last[0].start < limits.shortest
        if last and is_short and piece.end - last[0].start <= limits.longest:
            last.append(piece)
        else:
            groups.append([piece])
    if len(groups) > 1:
        last, before = groups[-1], groups[-2]
        is_short = last[-1].end - last[0].start < limits.shortest
        if is_short and last[-1].end - before[0].start <= limits.longest:
            groups[-2:] = [[*before, *last]]
    return groups
