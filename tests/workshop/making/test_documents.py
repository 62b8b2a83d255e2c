"""Documents of every kind give the same paragraphs, and those that cannot be used are refused with
their reason."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from jobs.luthier_error import LuthierError
from tests.workshop.making import written
from workshop.making.documents.document import Document
from workshop.making.documents.reading import read, read_all

pytestmark = [pytest.mark.heavy, pytest.mark.xdist_group("documents")]


def texts(document: Document) -> list[str]:
    return [block.text for block in document.blocks if not block.is_heading]


def headings(document: Document) -> list[str]:
    return [block.text.title() for block in document.blocks if block.is_heading]


@pytest.mark.parametrize(
    ("write", "name", "kind", "notes"),
    [
        (written.text_book, "keeper.txt", "text", 0),
        (written.markdown, "keeper.md", "Markdown", 1),
        (written.web_page, "keeper.html", "HTML", 1),
        (written.epub, "keeper.epub", "EPUB", 1),
        (written.docx, "keeper.docx", "DOCX", 1),
        (written.pdf, "keeper.pdf", "PDF", 1),
    ],
)
def test_every_kind_gives_the_same_paragraphs(
    tmp_path: Path, write: Callable[[Path], Path], name: str, kind: str, notes: int
) -> None:
    document = read(write(tmp_path / name))
    assert document.kind == kind
    assert headings(document) == list(written.CHAPTERS)
    assert texts(document) == written.PARAGRAPHS
    assert document.left_out["footnotes"] == notes


def test_a_printed_page_loses_what_the_printer_added(tmp_path: Path) -> None:
    document = read(written.pdf(tmp_path / "keeper.pdf"))
    assert +document.left_out == {
        "running heads": 3,
        "page numbers": 3,
        "footnotes": 1,
        "hyphens at line ends": 1,
    }
    assert "rapeseed oil" in texts(document)[3] and "half-mast" in texts(document)[6]
    assert [block.page for block in document.blocks if block.is_heading] == [1, 2, 3]


@pytest.mark.parametrize("columns", [2, 3])
@pytest.mark.parametrize("mixed", [True, False])
def test_columns_are_read_one_after_the_other(tmp_path: Path, columns: int, mixed: bool) -> None:
    pages = written.column_pages(columns, mixed=mixed)
    document = read(written.placed_pdf(tmp_path / "keeper.pdf", pages))
    assert headings(document) == ["The Keeper"]
    assert " ".join(texts(document)) == " ".join(written.PARAGRAPHS)
    assert document.left_out["page numbers"] == 1


def test_lines_stay_as_they_are_where_a_page_cannot_be_laid_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pages = written.column_pages(2)

    def fails(*_: object, **__: object) -> None:
        raise ValueError("a font that only pypdf passes over")

    monkeypatch.setattr("workshop.making.documents.columns.extract_pages", fails)
    document = read(written.placed_pdf(tmp_path / "keeper.pdf", pages))
    words = sorted(" ".join(texts(document)).replace("-", "").split())
    assert len(words) > 100 and "The" in words


def test_words_beside_their_meanings_are_no_columns(tmp_path: Path) -> None:
    pages = written.glossary_page()
    document = read(written.placed_pdf(tmp_path / "glossary.pdf", pages))
    text = " ".join(block.text for block in document.blocks)
    rows = [
        f"{word} {meaning.strip()}"
        for (_, _, word), (_, _, meaning) in zip(pages[0][::2], pages[0][1::2], strict=True)
    ]
    assert len(rows) > 12
    assert all(row in text for row in rows)


def test_a_compound_keeps_its_hyphen_where_a_line_ends_in_it(tmp_path: Path) -> None:
    pages = [
        ["A well-known keeper is well-known everywhere on the coast.", "He is called a well-"],
        ["known man, and he is not alone in that, since all the others", "are, too."],
    ]
    document = read(written.pdf(tmp_path / "known.pdf", pages))
    assert "He is called a well-known man" in texts(document)[-1]


@pytest.mark.parametrize("name", ["talk.txt", "talk.srt", "talk.vtt"])
def test_who_speaks_is_read_from_transcripts_and_subtitles(tmp_path: Path, name: str) -> None:
    write = written.transcript if name.endswith("txt") else written.subtitles
    document = read(write(tmp_path / name))
    turns = [(block.speaker.upper(), block.text) for block in document.blocks]
    joined = [*written.TALK[:3], ("OLE", " ".join(text for _, text in written.TALK[3:5]))]
    expected = written.TALK if name == "talk.txt" else [*joined, *written.TALK[5:]]
    assert turns == expected
    if name != "talk.txt":
        assert (document.blocks[1].begins, document.blocks[1].ends) == (5.0, 9.5)


@pytest.mark.parametrize("name", ["talk.txt", "talk.srt"])
def test_who_speaks_once_keeps_their_own_words(tmp_path: Path, name: str) -> None:
    talk = [*written.TALK[:3], ("PEER", "Nobody has asked me."), *written.TALK[3:]]
    path = tmp_path / name
    if name.endswith(".txt"):
        path.write_text("\n".join(f"{speaker}: {text}" for speaker, text in talk))
    else:
        path.write_text(
            "\n".join(
                f"{number}\n00:00:{number:02d},000 --> 00:00:{number:02d},900\n{speaker}: {text}\n"
                for number, (speaker, text) in enumerate(talk, 1)
            )
        )
    spoken = {(block.speaker, block.text) for block in read(path).blocks}
    assert ("PEER", "Nobody has asked me.") in spoken
    assert talk[2] in spoken


def test_captions_that_roll_are_read_once(tmp_path: Path) -> None:
    path = tmp_path / "rolling.vtt"
    lines = ["we left the harbour", "before the sun was up", "and nobody said a word."]
    cues = [
        f"00:00:0{index}.000 --> 00:00:0{index + 1}.000\n"
        + "\n".join(lines[max(0, index - 1) : index + 1])
        for index in range(3)
    ]
    path.write_text("WEBVTT\n\n" + "\n\n".join([*cues, cues[-1].replace("and", "[music] and")]))
    assert texts(read(path))[0].startswith(" ".join(lines))


def _cut(path: Path, share: float = 0.5) -> Path:
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    return path


def _locked(path: Path) -> Path:
    from pypdf import PdfReader, PdfWriter

    writer = PdfWriter(clone_from=PdfReader(written.pdf(path)))
    writer.encrypt("secret", algorithm="RC4-128")
    writer.write(path)
    return path


def _written(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


@pytest.mark.parametrize(
    ("write", "name", "reason"),
    [
        (lambda path: _written(path, b""), "a.txt", "is empty"),
        (lambda path: _written(path, b" \n\n"), "a.md", "is empty"),
        (lambda path: _written(path, b'{"messages": []}'), "a.jsonl", "is data already"),
        (lambda path: _written(path, b"<html><body><script>x</script>"), "a.html", "has no text"),
        (lambda path: _written(path, bytes(range(256)) * 99), "a.txt", "UTF-8|is not a text"),
        (lambda path: _written(path, b"Sm\xf8rrebr\xf8d p\xe5 \xf8en. " * 20), "a.txt", "UTF-8"),
        (lambda path: _written(path, b"%PDF-1.7 and nothing"), "a.pdf", "is damaged"),
        (lambda path: _written(path, b"not a PDF"), "a.pdf", "is damaged"),
        (lambda path: _written(path, b"PK\x03\x04 and nothing"), "a.epub", "is damaged"),
        (
            lambda path: _written(path, b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1 old"),
            "a.docx",
            "password",
        ),
        (lambda path: _written(path, b"1\nno time here\ntext\n"), "a.srt", "damaged|no text"),
        (lambda path: _cut(written.epub(path)), "a.epub", "is damaged"),
        (lambda path: _cut(written.docx(path)), "a.docx", "is damaged"),
        (lambda path: written.pdf(path, [[], [], []]), "a.pdf", "its 3 pages are pictures"),
        (_locked, "a.pdf", "is encrypted"),
        (lambda path: written.epub(path, encryption="urn:drm"), "a.epub", "protected"),
    ],
)
def test_what_cannot_be_used_is_refused_with_its_reason(
    tmp_path: Path, write: Callable[[Path], Path], name: str, reason: str
) -> None:
    path = write(tmp_path / name)
    with pytest.raises(LuthierError, match=reason) as refused:
        read(path)
    assert name in refused.value.message and refused.value.hint


def test_a_bomb_is_not_unpacked_and_a_huge_file_is_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from workshop.making.documents import packed, reading

    book, text = written.epub(tmp_path / "a.epub"), written.text_book(tmp_path / "a.txt")
    monkeypatch.setattr(packed, "_MOST_BYTES", 1000)
    with pytest.raises(LuthierError, match="unpacks to over"):
        read(book)
    monkeypatch.setattr(reading, "_MOST_BYTES", 1000)
    with pytest.raises(LuthierError, match="has 0 MB"):
        read(text)


def test_fonts_that_are_disguised_are_no_protection(tmp_path: Path) -> None:
    book = written.epub(tmp_path / "a.epub", encryption="http://www.idpf.org/2008/embedding")
    assert texts(read(book)) == written.PARAGRAPHS


def test_a_page_in_another_encoding_is_read_if_it_says_which(tmp_path: Path) -> None:
    page = '<html><head><meta charset="iso-8859-1"></head><p>Sm\xf8rrebr\xf8d p\xe5 \xf8en.'
    path = _written(tmp_path / "a.html", page.encode("latin-1"))
    assert texts(read(path)) == ["Sm\xf8rrebr\xf8d p\xe5 \xf8en."]


def test_notes_and_the_licence_around_a_gutenberg_text_are_left_out(tmp_path: Path) -> None:
    path = tmp_path / "book.txt"
    path.write_text(
        "The Project Gutenberg eBook\n\n*** START OF THE PROJECT GUTENBERG EBOOK THE KEEPER ***\n\n"
        "He lit the lamp[1] and sat down.\n\n[1]: With a match.\n\nIt burned [2] all night.\n\n"
        "*** END OF THE PROJECT GUTENBERG EBOOK THE KEEPER ***\n\nUpdated editions will replace it."
    )
    document = read(path)
    assert texts(document) == ["He lit the lamp and sat down.", "It burned [2] all night."]
    assert +document.left_out == {"footnotes": 1, "licence texts around the book": 1}


@pytest.mark.parametrize(
    "text",
    [
        "\u4ed6\u8d70\u4e86" * 200_000,
        "." * 300_000 + " end",
        "- " + " " * 300_000 + "x",
        "word-\n" * 50_000,
        "(" * 200_000 + " x",
        "[1]" * 50_000 + "\n[1]: x",
        "*** START OF A BOOK ***\n" * 20_000,
    ],
    ids=["signs", "dots", "spaces", "hyphens", "brackets", "marks", "licences"],
)
@pytest.mark.timeout(20)
def test_odd_texts_are_read_in_time_that_grows_with_them(tmp_path: Path, text: str) -> None:
    for name in ("a.txt", "b.html", "c.srt"):
        time = "1\n00:00:01,000 --> 00:00:02,000\n" if name.endswith("srt") else "\f" * 3
        path = tmp_path / name
        path.write_text(f"{time}{text}\n\nAnd then some words.")
        with suppress(LuthierError):
            read(path)


def test_every_refusal_is_named_at_once(tmp_path: Path) -> None:
    good = written.text_book(tmp_path / "good.txt")
    bad = [_written(tmp_path / "a.txt", b""), _written(tmp_path / "b.pdf", b"x")]
    with pytest.raises(LuthierError) as refused:
        read_all([good, *bad], lambda path: None)
    assert "a.txt" in refused.value.message and "b.pdf" in refused.value.message


def test_a_page_of_ten_thousand_levels_is_read(tmp_path: Path) -> None:
    path = tmp_path / "deep.html"
    path.write_text(
        "<html><body>" + "<div>" * 10_000 + "At the bottom of it all." + "</div>" * 10_000
    )
    try:
        assert texts(read(path)) == ["At the bottom of it all."]
    except LuthierError as error:  # libxml2 cuts off what is nested too deeply
        assert "has no text" in error.message
