"""PDF: the text layer, page by page."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pypdf import PageObject, PdfReader
from pypdf.errors import DependencyError

from workshop.making.documents.columns import Starts, in_reading_order
from workshop.making.documents.document import Document, unreadable
from workshop.making.documents.printed import Page, paragraphs

_MOST_PAGES = 20_000
_FEWEST_LETTERS = 25  # a page, on average; below it the pages are pictures


def read_pdf(path: Path) -> Document:
    logging.getLogger("pypdf").setLevel(logging.ERROR)  # it tells of each oddity that it passes
    try:
        reader = PdfReader(path, strict=False)
        is_locked = reader.is_encrypted and not reader.decrypt("")
        pages = [] if is_locked else _pages(reader, path)
        titles = [] if is_locked else [*_titles(reader.outline)]
    except DependencyError as error:  # a cipher that it has not
        raise _locked(path) from error
    except Exception as error:
        if isinstance(error, _Refusal):
            raise unreadable(path.name, str(error), error.hint) from error
        raise unreadable(path.name, f"is damaged: {str(error) or type(error).__name__}.") from error
    if is_locked:
        raise _locked(path)
    blocks, left_out = paragraphs(pages, titles)
    return Document(path.name, "PDF", blocks, left_out)


class _Refusal(Exception):
    def __init__(self, reason: str, hint: str) -> None:
        super().__init__(reason)
        self.hint = hint


def _locked(path: Path) -> Exception:
    return unreadable(path.name, "is encrypted.", "Save it without a password: qpdf --decrypt.")


def _pages(reader: PdfReader, path: Path) -> list[Page]:
    count = len(reader.pages)
    if count > _MOST_PAGES:
        raise _Refusal(f"has {count:,} pages.", f"Cut it: at most {_MOST_PAGES:,} are read.")
    pages: list[Page] = []
    odd: list[tuple[int, PageObject, list[str]]] = []
    for index, page in enumerate(reader.pages):
        starts = Starts()
        text = page.extract_text(visitor_operand_before=starts) or ""
        pages.append(Page(index + 1, text.splitlines()))
        if starts.side_by_side:
            odd.append((index, page, pages[-1].lines))
    in_reading_order(path, odd)
    letters = sum(char.isalnum() for page in pages for line in page.lines for char in line)
    if count and letters < _FEWEST_LETTERS * count:
        raise _Refusal(
            f"has no text: its {count:,} pages are pictures, as of a scanner.",
            f"Recognise its text first: ocrmypdf {path.name} with-text.pdf",
        )
    return pages


def _titles(outline: Any) -> Iterator[str]:
    """The bookmarks, which are a document's headings."""
    for entry in outline:
        if isinstance(entry, list):
            yield from _titles(entry)
        elif entry.title:
            yield str(entry.title)
