"""A document by its file: which kind it is, and its paragraphs. What cannot be used is refused with
its reason."""

from __future__ import annotations

import codecs
import re
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from jobs.luthier_error import LuthierError
from jobs.os_errors import in_words
from trainer.data import encodings
from trainer.data.formats_text import is_transcript, spoken_turns
from trainer.data_endings import DATA_ENDINGS
from workshop.making.document_files import ENDINGS
from workshop.making.documents.document import Block, Document, unreadable
from workshop.making.documents.printed import Page, paragraphs

_MOST_BYTES, _MOST_CHARACTERS = 300_000_000, 50_000_000
_OLD_OFFICE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
_MARKS = (codecs.BOM_UTF8, codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_LICENCE_ENDS = re.compile(r"^\*\*\* ?START OF [^\n]*\*\*\*\s*$", re.MULTILINE)
_LICENCE_BEGINS = re.compile(r"^\*\*\* ?END OF ", re.MULTILINE)
_NOTE = re.compile(
    r"^[ \t]*\[(?:Footnote |\^)?(\w{1,5})\]?:[ \t].*?(?=\n[ \t]*\n|\Z)", re.DOTALL | re.MULTILINE
)
_MARK = re.compile(r"(?<=\S)\[\^?(\w{1,5})\]")
_CHARSET = re.compile(rb"<meta[^>]{0,200}charset=[\"']?([\w-]{1,40})", re.IGNORECASE)
_FRONT_MATTER = re.compile(r"\A---\n.*?\n---\n", re.DOTALL)


def read_all(paths: Sequence[Path], on_document: Callable[[Path], None]) -> list[Document]:
    """LuthierError names every file that cannot be read, so that all can be put right at once."""
    documents, errors = [], []
    for path in paths:
        on_document(path)
        try:
            documents.append(read(path))
        except LuthierError as error:
            errors.append(error)
    if len(errors) == 1:
        raise errors[0]
    if errors:
        raise LuthierError(
            f"{len(errors)} documents cannot be read",
            "\n".join(error.message for error in errors),
            "\n".join(dict.fromkeys(error.hint for error in errors)),
        )
    return documents


def read(path: Path) -> Document:
    """A document's paragraphs. LuthierError if there are none, with the reason."""
    try:
        size = path.stat().st_size
        if size > _MOST_BYTES:
            raise unreadable(path.name, f"has {size // 10**6:,} MB.", "Cut it into parts.")
        with path.open("rb") as file:
            head = file.read(4096)
        document = _read(path, head)
    except OSError as error:
        raise in_words(error) from error
    if not any(block.text and not block.is_heading for block in document.blocks):
        raise unreadable(path.name, "has no text.", "Leave it out.")
    if sum(len(block.text) for block in document.blocks) > _MOST_CHARACTERS:
        raise unreadable(
            path.name, f"has over {_MOST_CHARACTERS // 10**6} million characters.", "Cut it."
        )
    return document


def _read(path: Path, head: bytes) -> Document:
    """By the first bytes, and the name where these say nothing. Each library is loaded for its
    kind alone."""
    if not head.strip():
        raise unreadable(path.name, "is empty.", "Leave it out.")
    if b"%PDF-" in head[:1024]:
        from workshop.making.documents.pdf import read_pdf

        return read_pdf(path)
    if head.startswith(b"PK"):
        return _read_zip(path)
    if head.startswith(_OLD_OFFICE):
        raise unreadable(
            path.name,
            "is a Word document with a password, or of Word 2003 or older.",
            "Save it as .docx without a password.",
        )
    ending = path.suffix.lower()
    if ending in (".pdf", ".epub", ".docx"):
        raise unreadable(path.name, f"is damaged: it is no {ending[1:].upper()} file inside.")
    if ending in (*DATA_ENDINGS, ".json"):
        raise unreadable(
            path.name, "is data already.", f"`luthier data check {path.name}` looks at it."
        )
    text = _decoded(path)
    if ending == ".srt" or ending == ".vtt" or text.startswith("WEBVTT"):
        from workshop.making.documents.subtitles import read_subtitles

        return read_subtitles(path, text)
    if ending in (".html", ".htm", ".xhtml") or re.match(r"\s*<(!doctype html|html)", text, re.I):
        return _read_html(path, text)
    if ending in (".md", ".markdown"):
        return _read_markdown(path, text)
    return _read_text(path, text)


def _read_zip(path: Path) -> Document:
    from workshop.making.documents.packed import open_zip, read_docx, read_epub

    with open_zip(path) as archive:
        names = set(archive.namelist())
    if "META-INF/container.xml" in names:
        return read_epub(path)
    if "word/document.xml" in names:
        return read_docx(path)
    raise unreadable(
        path.name, "is a ZIP file, but neither EPUB nor DOCX.", "Unpack it, or save it as one."
    )


def _decoded(path: Path) -> str:
    """The file's text. LuthierError where its encoding is not plain to see: a guess would train
    what nobody has written."""
    block = path.read_bytes()
    if block.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return block.decode("utf-16", "replace")
    charset = _CHARSET.search(block[:2048])
    if charset and encodings.is_other(block[:1_000_000]):
        with suppress(LookupError, UnicodeDecodeError):
            return block.decode(charset[1].decode())
    if encodings.is_other(block[:1_000_000]):
        error = encodings.refusal(path, block[:1_000_000])
        hint = error.hint.partition("; or read it as it is")[0].rstrip(".")
        raise LuthierError(error.title, error.message, f"{hint}.")
    text = block.decode("utf-8-sig", "replace")
    if text.count("\0") + text.count("\ufffd") > len(text) // 50:
        kinds = ", ".join(ENDINGS)
        raise unreadable(path.name, "is not a text file.", f"Luthier reads {kinds}.")
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _read_html(path: Path, text: str) -> Document:
    from workshop.making.documents.marked_up import blocks_of

    left_out: Counter[str] = Counter()
    # lxml refuses a str that names its encoding, and bytes would be read by that name
    text = re.sub(r"\A\s*<\?xml[^>]*\?>", "", text)
    return Document(path.name, "HTML", blocks_of(text, left_out), left_out)


def _read_markdown(path: Path, text: str) -> Document:
    from markdown_it import MarkdownIt

    text, left_out = _without_notes(_FRONT_MATTER.sub("", text))
    page = _read_html(path, MarkdownIt("commonmark").enable("table").render(text))
    return Document(path.name, "Markdown", page.blocks, page.left_out + left_out)


def _read_text(path: Path, text: str) -> Document:
    if is_transcript(text, {}):
        turns = [(name, " ".join(speech.split())) for name, speech in spoken_turns(text)]
        blocks = [Block(speech, speaker=name) for name, speech in turns if speech]
        return Document(path.name, "transcript", blocks)
    text, left_out = _without_notes(text)
    begin, end = _LICENCE_ENDS.search(text), _LICENCE_BEGINS.search(text)
    if begin and end and begin.end() < end.start():
        text = text[begin.end() : end.start()]
        left_out["licence texts around the book"] += 1
    parts = text.split("\f")
    numbers = range(1, len(parts) + 1) if len(parts) > 1 else (0,)
    pages = [Page(number, part.split("\n")) for number, part in zip(numbers, parts, strict=True)]
    blocks, cleaned = paragraphs(pages)
    return Document(path.name, "text", blocks, +(left_out + cleaned))


def _without_notes(text: str) -> tuple[str, Counter[str]]:
    """Without notes as text files and Markdown write them ("[1]: ...", "[Footnote 1: ...]"), and
    their marks."""
    marks = {match[1]: match.start() for match in reversed([*_MARK.finditer(text)])}
    numbers = {
        match[1]
        for match in _NOTE.finditer(text)
        if marks.get(match[1], match.start()) < match.start()
    }
    text = _NOTE.sub(lambda match: "" if match[1] in numbers else match[0], text)
    text = _MARK.sub(lambda match: "" if match[1] in numbers else match[0], text)
    return text, Counter({"footnotes": len(numbers)})
