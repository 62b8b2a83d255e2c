"""Lines as they were set on pages become paragraphs: without running heads, page numbers and
footnotes, with words that a line's end has cut in two whole again."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from workshop.making.documents.document import Block

_PAGE_NUMBER = re.compile(
    r"[\s\-\u2013\u2014\[(|]*(?:page|seite|p\.|s\.)?\s*(?:\d{1,4}|[ivxlc]{1,7})"
    r"(?:\s*(?:of|/|von|de)\s*\d{1,4})?[\s\-\u2013\u2014\])|.]*",
    re.IGNORECASE,
)
_NOTE = re.compile(r"\s*\[?(\d{1,3}|[*\u2020\u2021\u00a7]{1,3})[\].)]?\s+\S")
_CUT_WORD = re.compile(r"([^\W\d_]+)[-\u2010\u00ad]\Z")
_WORD = re.compile(r"[^\W\d_]+(?:[-\u2010][^\W\d_]+)*")
_SENTENCE_END = re.compile(r"[.!?:\u2026\u3002\uff01\uff1f][\"'\u201d\u2019\u00bb)\]]*\Z")
_CHAPTER = re.compile(
    r"(?:chapter|part|book|section|appendix|kapitel|teil|chapitre|cap\u00edtulo|capitolo)"
    r"\s+(?:[\dIVXLC]+|[A-Z][a-z]+)\b.{0,60}",
    re.IGNORECASE,
)
_NUMBERED = re.compile(r"\d{1,2}(?:\.\d{1,2})*\.?\s+[^\W\d_].{0,60}")
_SUBSECTION = re.compile(r"\d{1,2}(?:\.\d{1,2})+\.?\s+[^\W\d_a-z].{0,60}")
_LEADERS = re.compile(r"(?:\.[ \u00a0]?){6,}\s*(?:\d{1,4}|[ivxlc]{1,7})?\s*\Z")
_BULLET = re.compile(r"[\u2022\u25cf\u25aa\u2043]\s*")
_FEWEST_HEADS = 3
_MOST_NOTE_LINES = 40  # at a page's foot
_EDGE = 3  # lines at either end of a page that may be its running head
_LONGEST_HEAD, _LONGEST_HEADING, _LONGEST_LEADERS = 90, 70, 200
_LONGEST_WORD = 60  # a text without spaces is a word as a whole
_FILLED = 0.95  # of the usual width: letters differ in theirs
_LONG_LINES = 150  # characters: such lines are paragraphs, not set lines


@dataclass(frozen=True)
class Page:
    """`lines` are as they stand, empty ones, too. `number` is 0 for a text without pages."""

    number: int
    lines: list[str]


def paragraphs(
    pages: Sequence[Page], titles: Iterable[str] = ()
) -> tuple[list[Block], Counter[str]]:
    """The blocks of a document, and what was left out. `titles` are lines that are headings."""
    left_out: Counter[str] = Counter()
    pages = [Page(page.number, _without_contents(page.lines, left_out)) for page in pages]
    clean = _without_heads(pages, left_out)
    clean = [_without_notes(page, left_out) for page in clean]
    words = Counter(word.casefold() for page in clean for word in _words(page.lines))
    headings = {_folded(title) for title in titles}
    blocks = [
        Block(text, is_heading, page)
        for page, lines, is_heading in _grouped(clean, headings)
        if (text := joined(lines, words, left_out))
    ]
    return blocks, left_out


def joined(lines: Sequence[str], words: Counter[str], left_out: Counter[str]) -> str:
    """Lines as one. A word that was cut in two is whole again; a hyphen that the document writes
    elsewhere, too, stays. `words` counts those of the document."""
    parts: list[str] = []
    for line in filter(None, (line.strip() for line in lines)):
        cut = _CUT_WORD.search(parts[-1][-_LONGEST_WORD:]) if parts else None
        next_word = _WORD.match(line[:_LONGEST_WORD])
        if cut and next_word and next_word[0][0].islower():
            first, second = cut[1], re.split("[-\u2010]", next_word[0])[0]
            hyphenated = f"{first}-{second}".casefold()
            is_compound = words[hyphenated] > words[f"{first}{second}".casefold()]
            left_out["hyphens at line ends"] += not is_compound
            parts[-1] = parts[-1] + line if is_compound else parts[-1][:-1] + line
        else:
            parts.append(line)
    return re.sub(r"\s+", " ", " ".join(parts).replace("\u00ad", "")).strip()


def _without_contents(lines: Sequence[str], left_out: Counter[str]) -> list[str]:
    """Without the lines of a table of contents, whose dots lead to a page."""
    kept = [line for line in lines if not _LEADERS.search(line[-_LONGEST_LEADERS:])]
    left_out["lines of contents"] += len(lines) - len(kept)
    return kept


def _words(lines: Sequence[str]) -> Iterator[str]:
    for line in lines:
        yield from _WORD.findall(line)


def _folded(line: str) -> str:
    return re.sub(r"\W+", " ", line).casefold().strip()


def _head_form(line: str) -> str:
    return re.sub(r"\d+", "#", re.sub(r"\s+", " ", line)).casefold().strip()


def _edges(lines: Sequence[str]) -> list[int]:
    """The places of the first and the last lines of a page that are not empty."""
    filled = [index for index, line in enumerate(lines) if line.strip()]
    return sorted({*filled[:_EDGE], *filled[-_EDGE:]})


def _without_heads(pages: Sequence[Page], left_out: Counter[str]) -> list[Page]:
    if not any(page.number for page in pages):
        return list(pages)
    counts: Counter[str] = Counter()
    for page in pages:
        forms = {_head_form(page.lines[index]) for index in _edges(page.lines)}
        counts.update(form for form in forms if 0 < len(form) <= _LONGEST_HEAD)
    return [Page(page.number, _inner(page.lines, counts, left_out)) for page in pages]


def _inner(lines: list[str], counts: Counter[str], left_out: Counter[str]) -> list[str]:
    """A page's lines without those at its edges that stand on other pages, too, or are its
    number."""
    lines = list(lines)
    for end in (0, -1):
        for _ in range(_EDGE):
            while lines and not lines[end].strip():
                lines.pop(end)
            if not lines:
                break
            if len(lines[end]) > _LONGEST_HEAD:
                break
            if _PAGE_NUMBER.fullmatch(lines[end]):
                left_out["page numbers"] += 1
            elif counts[_head_form(lines[end])] >= _FEWEST_HEADS:
                left_out["running heads"] += 1
            else:
                break
            lines.pop(end)
    return lines


def _without_notes(page: Page, left_out: Counter[str]) -> Page:
    """Without the notes at a page's foot, as far as its text refers to them, and their marks."""
    if not page.number:
        return page
    for index in range(max(1, len(page.lines) - _MOST_NOTE_LINES), len(page.lines)):
        if not _NOTE.match(page.lines[index]):
            continue
        body = "\n".join(page.lines[:index])
        notes = page.lines[index:]
        marks = [match[1] for match in map(_NOTE.match, notes) if match]
        if not _are_counted(marks) or not all(_mark(mark).search(body) for mark in marks):
            continue
        for mark in marks:
            body = _mark(mark).sub(r"\1", body)
        left_out["footnotes"] += len(marks)
        return Page(page.number, body.split("\n"))
    return page


def _mark(mark: str) -> re.Pattern[str]:
    """A note's mark in the text: behind a word or a sentence."""
    return re.compile(rf"([^\W\d_]|[.,;:!?\"'\u201d\u2019)])\[?{re.escape(mark)}\]?(?=[\s.,;:]|$)")


def _are_counted(marks: Sequence[str]) -> bool:
    """Whether numbers are in their order, so that a list is not taken for notes."""
    numbers = [int(mark) for mark in marks if mark.isdigit()]
    return numbers == sorted(set(numbers))


def _grouped(pages: Sequence[Page], headings: set[str]) -> Iterator[tuple[int, list[str], bool]]:
    """The lines of each paragraph, with its first page and whether it is a heading."""
    filled = sorted(len(line.strip()) for page in pages for line in page.lines if line.strip())
    if not filled:
        return
    width, middle = filled[int(len(filled) * 0.9)], filled[len(filled) // 2]
    lines_are_paragraphs = middle >= _LONG_LINES
    gaps = sum(not line.strip() for page in pages for line in page.lines)
    has_gaps = gaps * 12 >= len(filled)
    current: list[str] = []
    first_page = 0
    for page in pages:
        for line in page.lines:
            text = line.strip()
            bullet = _BULLET.match(text)
            text = text[bullet.end() :] if bullet else text
            ended = not current or lines_are_paragraphs or _ends(current[-1], text, width, has_gaps)
            if not text:
                if has_gaps and current:
                    yield first_page, current, _is_lone_heading(current, headings)
                    current = []
                continue
            if current and (ended or bullet):
                yield first_page, current, _is_lone_heading(current, headings)
                current = []
            if _folded(text) in headings or _is_chapter(text):
                if current:
                    yield first_page, current, False
                yield page.number, [text], True
                current = []
                continue
            if not current:
                first_page = page.number
            current.append(text)
        if current and _SENTENCE_END.search(current[-1]) and page.number:
            yield first_page, current, False
            current = []
    if current:
        yield first_page, current, _is_lone_heading(current, headings)


def _is_chapter(line: str) -> bool:
    is_short = len(line) <= _LONGEST_HEADING and not _SENTENCE_END.search(line)
    return is_short and bool(_CHAPTER.fullmatch(line) or _SUBSECTION.fullmatch(line))


def _ends(line: str, following: str, width: int, has_gaps: bool) -> bool:
    """Whether a line is the last of its paragraph, where no empty line says so: its sentence is
    over, and the next word had room on it."""
    if has_gaps:
        return False
    if len(line) <= _LONGEST_HEADING and line.isupper():
        return True
    word = following.partition(" ")[0]
    had_room = len(line) + 1 + len(word) <= _FILLED * width
    return had_room and not word[:1].islower() and bool(_SENTENCE_END.search(line))


def _is_lone_heading(lines: Sequence[str], headings: set[str]) -> bool:
    if len(lines) != 1 or len(lines[0]) > _LONGEST_HEADING or _SENTENCE_END.search(lines[0]):
        return False
    line = lines[0]
    is_shouted = line.isupper() and sum(map(str.isalpha, line)) > 2
    return is_shouted or _folded(line) in headings or bool(_NUMBERED.fullmatch(line))
