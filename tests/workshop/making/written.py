"""Documents of several kinds, written here: the same three chapters of our own text as a book, a
printed page, a Word file, and so on."""

from __future__ import annotations

import textwrap
import zipfile
from pathlib import Path
from xml.sax.saxutils import escape

CHAPTERS = {
    "Chapter One": [
        "The lighthouse keeper rose at four in the morning, when the wind had already turned to the"
        " north. He lit the small stove first, because cold fingers make slow work of a lamp, and"
        " then he climbed the hundred and twelve steps to the gallery.",
        "From the gallery he counted the boats. There were eleven of them that morning, and the"
        " eleventh belonged to his brother, who had sworn never to go out in a northerly again.",
        "The keeper wrote the number in the log with a pencil. Ink, he used to say, is for people"
        " who are sure of themselves.",
    ],
    "Chapter Two": [
        "The lamp itself was made in Birmingham in 1867. It burned rapeseed oil until the war, and"
        " paraffin after it; the lenses, however, were French, and nobody on the island was allowed"
        " to touch them without gloves.",
        "Every third Sunday the brass was polished with vinegar and ash. The inspector came twice a"
        " year, always unannounced, and always on the ferry that the whole harbour could see for an"
        " hour before it landed.",
    ],
    "Chapter Three": [
        "In the winter of the great storm the ferry did not come for six weeks. They ate limpets,"
        " and the last of the potatoes, and on Candlemas the keeper's wife baked a cake with"
        " seagull eggs that everybody praised and nobody finished.",
        "When the ferry came at last it brought flour, letters, and the news that the old king had"
        " died. The keeper hoisted the flag to half-mast, six weeks late, and lit the lamp as on"
        " any other evening.",
    ],
}
PARAGRAPHS = [paragraph for paragraphs in CHAPTERS.values() for paragraph in paragraphs]


def text_book(path: Path) -> Path:
    parts = []
    for title, paragraphs in CHAPTERS.items():
        parts += [title.upper(), *(textwrap.fill(paragraph, 70) for paragraph in paragraphs)]
    path.write_text("\n\n".join(parts) + "\n", encoding="utf-8")
    return path


def markdown(path: Path) -> Path:
    parts = ["---\ntitle: The Keeper\n---"]
    for title, paragraphs in CHAPTERS.items():
        parts += [f"## {title}", *paragraphs]
    parts[2] += "[^1]"
    path.write_text("\n\n".join([*parts, "[^1]: A note that nobody needs."]), encoding="utf-8")
    return path


def _html_body(with_notes: bool = True) -> str:
    parts = []
    for number, (title, paragraphs) in enumerate(CHAPTERS.items()):
        parts.append(f'<h2 id="c">{title}<a class="headerlink" href="#c">\u00b6</a></h2>')
        mark = '<sup><a href="#n1" id="r1">1</a></sup>' if with_notes and not number else ""
        parts.append(f"<p>{escape(paragraphs[0])}{mark}</p>")
        parts += [f"<p>{escape(paragraph)}</p>" for paragraph in paragraphs[1:]]
    notes = '<ol><li id="n1">A note that nobody needs. <a href="#r1">back</a></li></ol>'
    return "\n".join([*parts, notes if with_notes else ""])


def web_page(path: Path) -> Path:
    path.write_text(
        "<!DOCTYPE html><html><head><title>The Keeper</title><style>p {}</style></head><body>"
        "<nav><a href='/'>Home of the site</a></nav><script>var x = 'not text';</script>"
        f"<main>{_html_body()}</main><footer>All rights and so on</footer></body></html>",
        encoding="utf-8",
    )
    return path


def epub(path: Path, *, encryption: str = "") -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("mimetype", "application/epub+zip")
        archive.writestr(
            "META-INF/container.xml",
            '<container xmlns="urn:oasis:names:tc:opendocument:xmlns:container"><rootfiles>'
            '<rootfile full-path="OEBPS/book.opf"/></rootfiles></container>',
        )
        if encryption:
            archive.writestr(
                "META-INF/encryption.xml",
                '<encryption xmlns:enc="http://www.w3.org/2001/04/xmlenc#"><enc:EncryptedData>'
                f'<enc:EncryptionMethod Algorithm="{encryption}"/></enc:EncryptedData>'
                "</encryption>",
            )
        names = []
        for number, (title, paragraphs) in enumerate(CHAPTERS.items(), 1):
            names.append(f"chapter{number}.xhtml")
            mark = '<a epub:type="noteref" href="#n">*</a>' if number == 1 else ""
            note = '<aside epub:type="footnote" id="n"><p>A note that nobody needs.</p></aside>'
            body = f"<h1>{title}</h1><p>{escape(paragraphs[0])}{mark}</p>" + "".join(
                f"<p>{escape(paragraph)}</p>" for paragraph in paragraphs[1:]
            )
            archive.writestr(
                f"OEBPS/{names[-1]}",
                '<?xml version="1.0" encoding="utf-8"?><html xmlns="http://www.w3.org/1999/xhtml"'
                f' xmlns:epub="http://www.idpf.org/2007/ops"><body>{body}'
                f"{note if number == 1 else ''}</body></html>",
            )
        archive.writestr("OEBPS/nav.xhtml", "<html><body><p>Contents of it</p></body></html>")
        items = "".join(
            f'<item id="{name}" href="{name}" media-type="application/xhtml+xml"/>'
            for name in names
        )
        spine = "".join(f'<itemref idref="{name}"/>' for name in ["nav", *reversed(names)][::-1])
        archive.writestr(
            "OEBPS/book.opf",
            '<package xmlns="http://www.idpf.org/2007/opf"><manifest>'
            '<item id="nav" href="nav.xhtml"'
            f' properties="nav" media-type="application/xhtml+xml"/>{items}</manifest>'
            f"<spine>{spine}</spine></package>",
        )
    return path


_W = 'xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main"'
_RELATIONS = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"


def docx(path: Path) -> Path:
    def paragraph(text: str, style: str = "", note: bool = False) -> str:
        properties = f'<w:pPr><w:pStyle w:val="{style}"/></w:pPr>' if style else ""
        mark = '<w:r><w:footnoteReference w:id="2"/></w:r>' if note else ""
        return f"<w:p>{properties}<w:r><w:t>{escape(text)}</w:t></w:r>{mark}</w:p>"

    body = []
    for number, (title, paragraphs) in enumerate(CHAPTERS.items()):
        body.append(paragraph(title, "Heading1"))
        body.append(paragraph(paragraphs[0], note=not number))
        body += [paragraph(text) for text in paragraphs[1:]]
    files = {
        "[Content_Types].xml": '<Types xmlns="http://schemas.openxmlformats.org/package/2006/'
        'content-types"><Default Extension="rels" ContentType="application/vnd.openxmlformats-'
        'package.relationships+xml"/><Override PartName="/word/document.xml" ContentType="'
        'application/vnd.openxmlformats-officedocument.wordprocessingml.document.main+xml"/></Types>',
        "_rels/.rels": '<Relationships xmlns="http://schemas.openxmlformats.org/package/2006/'
        f'relationships"><Relationship Id="r1" Type="{_RELATIONS}/officeDocument"'
        ' Target="word/document.xml"/></Relationships>',
        "word/_rels/document.xml.rels": '<Relationships xmlns="http://schemas.openxmlformats.org/'
        f'package/2006/relationships"><Relationship Id="r2" Type="{_RELATIONS}/footnotes"'
        ' Target="footnotes.xml"/></Relationships>',
        "word/styles.xml": f'<w:styles {_W}><w:style w:type="paragraph" w:styleId="Heading1">'
        '<w:name w:val="heading 1"/></w:style></w:styles>',
        "word/footnotes.xml": f'<w:footnotes {_W}><w:footnote w:id="2">'
        f"{paragraph('A note that nobody needs.')}</w:footnote></w:footnotes>",
        "word/document.xml": f"<w:document {_W}><w:body>{''.join(body)}</w:body></w:document>",
    }
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    return path


def hyphenated(text: str, width: int = 64) -> list[str]:
    """Lines as they are set, some of which cut a word in two."""
    lines: list[str] = []
    current = ""
    for word in text.split():
        if len(current) + len(word) + 1 <= width:
            current = f"{current} {word}".strip()
            continue
        space = width - len(current) - 2
        letters = word.rstrip(".,;")
        if len(letters) > 7 and 3 <= space <= len(letters) - 3 and letters.isalpha():
            lines.append(f"{current} {word[:space]}-")
            current = word[space:]
        else:
            lines.append(current)
            current = word
    return [*lines, current]


def printed_pages() -> list[list[str]]:
    """A page a chapter, with running heads, page numbers and a footnote."""
    pages = []
    for number, (title, paragraphs) in enumerate(CHAPTERS.items(), 1):
        lines = [f"The Keeper   {number + 6}", title]
        for index, paragraph in enumerate(paragraphs):
            if number == 1 and index == 0:
                paragraph = paragraph.replace("slow work of a lamp,", "slow work of a lamp,1")
            lines += hyphenated(paragraph)
        if number == 1:
            lines += ["1 A note that nobody needs, on two", "lines of small print."]
        pages.append([*lines, f"- {number + 6} -"])
    return pages


Line = tuple[int, int, str]
"""Where a line of text stands, from the page's left and lower edge in points, and the line."""


def pdf(path: Path, pages: list[list[str]] | None = None) -> Path:
    """A line of text a line."""
    lines = printed_pages() if pages is None else pages
    return placed_pdf(
        path, [[(60, 780 - 14 * row, line) for row, line in enumerate(page)] for page in lines]
    )


def column_pages(columns: int, *, mixed: bool = True) -> list[list[Line]]:
    """All paragraphs on a page in columns, under a title and above a page number. The file has the
    lines from the top to the bottom, those of neighbouring columns side by side, unless they are
    not `mixed`."""
    lines: list[str] = []
    for paragraph in PARAGRAPHS:
        first, *further = hyphenated(paragraph, 78 // columns)
        lines += [f"   {first}", *further]
    height = -(-len(lines) // columns)
    placed = [
        (60 + 480 // columns * (index // height), 760 - 14 * (index % height), line)
        for index, line in enumerate(lines)
    ]
    if mixed:
        placed.sort(key=lambda line: -line[1])
    return [[(270, 800, "THE KEEPER"), *placed, (297, 40, "- 1 -")]]


def glossary_page() -> list[list[Line]]:
    """Words, and beside them what they mean."""
    words = sorted({word for text in PARAGRAPHS for word in text.split() if len(word) > 7})
    pairs = list(zip(words, PARAGRAPHS * 3, strict=False))
    rows = [(760 - 14 * index, word, text[:60]) for index, (word, text) in enumerate(pairs)]
    return [[(x, y, text) for y, *texts in rows for x, text in zip((60, 200), texts, strict=True)]]


def placed_pdf(path: Path, pages: list[list[Line]]) -> Path:
    """A PDF by hand, in Helvetica."""
    objects: list[bytes] = []
    kids = " ".join(f"{4 + 2 * index} 0 R" for index in range(len(pages)))
    objects.append(b"<< /Type /Catalog /Pages 2 0 R >>")
    objects.append(f"<< /Type /Pages /Kids [{kids}] /Count {len(pages)} >>".encode())
    objects.append(
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica /Encoding /WinAnsiEncoding >>"
    )
    for index, lines in enumerate(pages):
        operators = "".join(
            f"1 0 0 1 {x} {y} Tm ("
            + line.replace("\\", r"\\").replace("(", r"\(").replace(")", r"\)")
            + ") Tj\n"
            for x, y, line in lines
        )
        stream = f"BT /F1 11 Tf\n{operators}ET".encode("cp1252")
        objects.append(
            f"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 595 842] /Contents {5 + 2 * index} 0 R"
            " /Resources << /Font << /F1 3 0 R >> >> >>".encode()
        )
        objects.append(b"<< /Length %d >>\nstream\n%s\nendstream" % (len(stream), stream))
    data = b"%PDF-1.4\n"
    places = []
    for number, content in enumerate(objects, 1):
        places.append(len(data))
        data += b"%d 0 obj\n%s\nendobj\n" % (number, content)
    table = b"".join(b"%010d 00000 n \n" % offset for offset in places)
    start = len(data)
    data += b"xref\n0 %d\n0000000000 65535 f \n%s" % (len(objects) + 1, table)
    data += b"trailer << /Size %d /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF\n" % (
        len(objects) + 1,
        start,
    )
    path.write_bytes(data)
    return path


TALK = [
    ("MARA", "Where did you learn to mend nets?"),
    ("OLE", "From my grandmother. She could do it in the dark, and she said that whoever needs"
     " light for it has not understood the net."),
    ("MARA", "And who buys them today?"),
    ("OLE", "Mostly restaurants, for the walls. I have stopped being proud."),
    ("OLE", "But two boats still fish with mine, and they come back with more than the others."),
    ("MARA", "Would you teach me?"),
    ("OLE", "If you bring your own needle, come on Thursday."),
]  # fmt: skip


def transcript(path: Path) -> Path:
    path.write_text("\n".join(f"{name}: {text}" for name, text in TALK) + "\n", encoding="utf-8")
    return path


def subtitles(path: Path) -> Path:
    """Of the same talk; the ending decides which kind."""
    is_vtt = path.suffix == ".vtt"
    mark = "." if is_vtt else ","
    cues = ["WEBVTT\n"] if is_vtt else []
    for number, (name, text) in enumerate(TALK):
        begin, end = number * 5, number * 5 + 4
        lines = textwrap.fill(text, 42)
        spoken = f"<v {name.title()}>{lines}" if is_vtt else f"{name}: {lines}"
        time = f"00:00:{begin:02d}{mark}000 --> 00:00:{end:02d}{mark}500"
        cues.append(f"{number + 1}\n{time}\n{spoken}\n")
    path.write_text("\n".join(cues), encoding="utf-8")
    return path
