"""HTML, and what other kinds are read through: Markdown, EPUB and DOCX. Headings, paragraphs, lists
and rows of tables stay; navigation, scripts and notes do not."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator

from lxml import etree, html

from workshop.making.documents.document import Block

_LEFT = frozenset(
    [
        "script",
        "style",
        "nav",
        "aside",
        "form",
        "noscript",
        "template",
        "svg",
        "math",
        "iframe",
        "button",
        "select",
        "head",
        "footer",
        "object",
        "audio",
        "video",
        "canvas",
    ]
)
_HEADINGS = frozenset(("h1", "h2", "h3", "h4", "h5", "h6"))
_BLOCKS = _HEADINGS | frozenset(
    [
        "p",
        "li",
        "blockquote",
        "pre",
        "div",
        "section",
        "article",
        "main",
        "header",
        "body",
        "html",
        "ul",
        "ol",
        "dl",
        "dt",
        "dd",
        "figure",
        "figcaption",
        "table",
        "thead",
        "tbody",
        "tfoot",
        "tr",
        "hr",
        "address",
        "center",
        "details",
        "summary",
        "caption",
    ]
)
_CELLS = ("td", "th")
_NOTES = ("footnote", "endnote", "rearnote", "doc-footnote", "doc-endnote")
_BESIDE_THE_TEXT = ("toc", "titlepage", "copyright-page", "index", "bibliography", "landmarks")
_ANCHORS = ("\u00b6", "#", "\u00a7", "\U0001f517")  # a heading's link to itself
_EPUB_TYPE = "{http://www.idpf.org/2007/ops}type"
_NOTE_MARK = re.compile(r"[\[(]?\s*(?:\d{1,3}|[*\u2020\u2021\u00a7]{1,3}|[a-z])\s*[\])]?")


def blocks_of(text: str | bytes, left_out: Counter[str]) -> list[Block]:
    """The blocks of an HTML page. lxml reads what is broken as browsers do."""
    parser = html.HTMLParser(remove_comments=True, remove_pis=True, no_network=True)
    try:
        root = html.document_fromstring(text, parser=parser)
    except (etree.ParserError, ValueError):
        return []
    _take_notes_out(root, left_out)
    main = root.find(".//main")
    articles = root.findall(".//article")
    if main is None and len(articles) == 1:
        main = articles[0]
    body = root if main is None else main
    return [block for block in _walk(body) if block.text]


def _take_notes_out(root: html.HtmlElement, left_out: Counter[str]) -> None:
    """A note is what says so, or what a raised mark points to."""
    targets = set()
    for link in list(root.iter("a")):
        target = (link.get("href") or "").rpartition("#")[2]
        kinds = f"{link.get(_EPUB_TYPE) or ''} {link.get('epub:type') or ''} {link.get('role')}"
        parent = link.getparent()
        is_raised = (parent is not None and parent.tag == "sup") or link.find("sup") is not None
        is_mark = bool(_NOTE_MARK.fullmatch(link.text_content().strip()))
        if link.text_content().strip() in _ANCHORS:
            link.drop_tree()
        elif "noteref" in kinds or (is_raised and is_mark):
            targets.add(target)
            raised = parent if parent is not None and parent.tag == "sup" else link
            raised.drop_tree()
    for element in list(root.iter()):
        if not isinstance(element.tag, str) or element.getparent() is None:
            continue
        names = (_EPUB_TYPE, "epub:type", "role", "class")
        said_kinds = " ".join(element.get(name) or "" for name in names).split()
        is_note = any(kind.rstrip("s") in _NOTES for kind in said_kinds)
        identifier = element.get("id") or ""
        if is_note or (identifier in targets and identifier):
            note = element
            while note.tag in ("a", "span", "sup") and note.getparent() is not None:
                note = note.getparent()
            left_out["footnotes"] += 1
            if note.getparent() is not None:
                note.drop_tree()


def _is_left(element: html.HtmlElement) -> bool:
    kinds = f"{element.get('epub:type') or ''} {element.get(_EPUB_TYPE) or ''}".split()
    return (
        element.tag in _LEFT
        or element.get("hidden") is not None
        or element.get("aria-hidden") == "true"
        or element.get("role") in ("navigation", "banner", "contentinfo", "search", "doc-toc")
        or "display:none" in (element.get("style") or "").replace(" ", "")
        or any(kind in _BESIDE_THE_TEXT for kind in kinds)
    )


def _walk(root: html.HtmlElement) -> Iterator[Block]:
    """Depth first, without recursion: pages may be nested deeper than Python's stack."""
    text: list[str] = []
    heading = is_set = False
    skipped: html.HtmlElement | None = None

    def flush() -> Block | None:
        content = "".join(text).replace("\u00ad", "")
        content = content.strip("\n") if is_set else re.sub(r"\s+", " ", content).strip()
        text.clear()
        return Block(content, heading) if any(map(str.isalnum, content)) else None

    for event, element in etree.iterwalk(root, events=("start", "end")):
        if skipped is not None:
            if event == "end" and element is skipped:
                skipped = None
                text.append((element.tail or "") if element is not root else "")
            continue
        is_block = element.tag in _BLOCKS
        if event == "start" and _is_left(element):
            skipped = element
            continue
        if is_block and (block := flush()):
            yield block
        if event == "start":
            heading = element.tag in _HEADINGS if is_block else heading
            is_set = is_set or element.tag == "pre"
            text.append(element.text or "")
        else:
            heading = False if is_block else heading
            is_set = is_set and element.tag != "pre"
            text.append("\n" if element.tag == "br" else "")
            text.append(" | " if element.tag in _CELLS and element.getnext() is not None else "")
            text.append((element.tail or "") if element is not root else "")
    if block := flush():
        yield block
