"""Pages set in several columns. Most files have the text of a column together; where a file has the
lines of neighbouring columns side by side, they are read in the order of the page."""

from __future__ import annotations

import logging
import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import Any

from pdfminer.high_level import extract_pages
from pdfminer.layout import LAParams, LTTextBox
from pypdf import PageObject

_BIN = 4.0  # points within which lines begin at one place
_FEWEST_LINES = 6
_STARTING = 0.25
"""The share of a page's lines that have to begin where a column could."""
_ACROSS = 0.6
"""Of the distance between the first and the last column; a column itself is less wide."""
_WIDE = 0.15
"""Of the page's width: what is narrower is no column of text."""
_MOST_BLOCKS = 80  # a page of text has fewer, and each is compared with each
_IN_ORDER = 0.8


class Starts:
    """Where the pieces of text of a page begin, in the order that the file has them, as pypdf comes
    to them."""

    def __init__(self) -> None:
        self._starts: list[tuple[int, int]] = []

    def __call__(self, operator: bytes, _: Any, matrix: Sequence[float], text: Any) -> None:
        if operator in (b"Tj", b"TJ", b"'", b'"'):
            x, y = (
                text[4] * matrix[index] + text[5] * matrix[index + 2] + matrix[index + 4]
                for index in (0, 1)
            )
            self._starts.append((int(x / _BIN), int(y / 2)))

    @property
    def side_by_side(self) -> bool:
        """Whether the file may have lines of neighbouring columns together: many lines begin
        elsewhere than at the left, and many are written in one go across the page."""
        rows: defaultdict[int, set[int]] = defaultdict(set)
        for x, y in self._starts:
            rows[x].add(y)
        enough = max(_FEWEST_LINES, _STARTING * len({y for _, y in self._starts}))
        begins = [x for x, lines in rows.items() if len(lines) >= enough]
        if not begins or max(begins) - min(begins) <= 1:
            return False
        across = _ACROSS * (max(begins) - min(begins))
        return sum(span >= across for span in self._spans()) >= _FEWEST_LINES

    def _spans(self) -> Iterator[int]:
        """How far the pieces that the file has from left to right on one line reach."""
        first: tuple[int, int] | None = None
        last = (0, 0)
        for x, y in self._starts:
            if first is None or abs(y - first[1]) > 1 or x < last[0]:
                if first is not None:
                    yield last[0] - first[0]
                first = (x, y)
            last = (x, y)
        if first is not None:
            yield last[0] - first[0]


def in_reading_order(path: Path, pages: Sequence[tuple[int, PageObject, list[str]]]) -> None:
    """Put the lines of pages, by their indices in the file, into the order in which they are read,
    where a page has columns and the file mixes them."""
    numbers = [index for index, _, _ in pages]
    if not numbers:  # which would mean all pages
        return
    logging.getLogger("pdfminer").setLevel(logging.ERROR)
    # of a file that is odd in a way that only pypdf passes over, the lines stay as they are
    with suppress(Exception):
        layouts = extract_pages(path, page_numbers=numbers, laparams=LAParams(boxes_flow=None))
        for (_, page, lines), layout in zip(pages, layouts, strict=False):
            boxes = [box for box in layout if isinstance(box, LTTextBox)]
            blocks = _side_by_side(boxes, float(page.mediabox.width))
            if blocks and not _follow_each_other(blocks, lines):
                lines[:] = [line for box in _ordered(boxes, blocks) for line in _lines(box)]


def _side_by_side(boxes: Sequence[LTTextBox], width: float) -> list[LTTextBox]:
    """The blocks of text beside others; none where so few lines stand beside each other that it is
    no column."""
    blocks = [box for box in boxes if box.width >= _WIDE * width and len(_lines(box)) > 1]
    pairs = [(left, right) for left in blocks for right in blocks if _are_beside(left, right)]
    if sum(_lines_beside(left, right) for left, right in pairs) < _FEWEST_LINES:
        return []
    return [box for box in blocks if any(box in pair for pair in pairs)]


def _are_beside(left: LTTextBox, right: LTTextBox) -> bool:
    return left.x1 <= right.x0 and left.y0 < right.y1 and right.y0 < left.y1


def _lines_beside(left: LTTextBox, right: LTTextBox) -> int:
    return sum(right.y0 <= (line.y0 + line.y1) / 2 <= right.y1 for line in left)


def _ordered(boxes: Sequence[LTTextBox], blocks: Sequence[LTTextBox]) -> Iterator[LTTextBox]:
    """What is above and below the columns, and what crosses them (a title, a page number), stays
    where it is; between it the columns follow each other."""
    top, bottom = max(block.y1 for block in blocks), min(block.y0 for block in blocks)
    across = [
        box
        for box in boxes
        if box.y0 >= top
        or box.y1 <= bottom
        or any(
            left.x0 < box.x1 and box.x0 < left.x1 and right.x0 < box.x1 and box.x0 < right.x1
            for left in blocks
            for right in blocks
            if _are_beside(left, right)
        )
    ]
    column_boxes = [box for box in boxes if box not in across]
    for box in sorted(across, key=lambda box: -box.y1):
        above = [other for other in column_boxes if other.y0 + other.y1 > box.y0 + box.y1]
        column_boxes = [other for other in column_boxes if other not in above]
        yield from (*_by_columns(above), box)
    yield from _by_columns(column_boxes)


def _by_columns(boxes: Sequence[LTTextBox]) -> Iterator[LTTextBox]:
    column: list[LTTextBox] = []
    for box in sorted(boxes, key=lambda box: float(box.x0)):
        if column and box.x0 >= max(other.x1 for other in column):
            yield from sorted(column, key=lambda box: -box.y1)
            column = []
        column.append(box)
    yield from sorted(column, key=lambda box: -box.y1)


def _lines(box: LTTextBox) -> list[str]:
    return [line for line in box.get_text().splitlines() if line.strip()]


def _follow_each_other(boxes: Sequence[LTTextBox], lines: Sequence[str]) -> bool:
    """Whether the lines of a block do so in the file."""
    text = _letters("".join(lines))
    pairs = [_letters(first + second) for box in boxes for first, second in pairwise(_lines(box))]
    return sum(pair in text for pair in pairs) >= _IN_ORDER * len(pairs)


def _letters(text: str) -> str:
    return re.sub(r"\s", "", text)
