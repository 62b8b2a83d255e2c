"""Documents that are ZIP files of others: EPUB books and Word's DOCX."""

from __future__ import annotations

import posixpath
import zipfile
from collections import Counter
from pathlib import Path
from urllib.parse import unquote

from lxml import etree

from workshop.making.documents.document import Block, Document, unreadable
from workshop.making.documents.marked_up import blocks_of

_MOST_BYTES = 500_000_000
_CONTAINER = "META-INF/container.xml"
_FONTS_ONLY = ("http://www.idpf.org/2008/embedding", "http://ns.adobe.com/pdf/enc#RC")
_PAGES = ("application/xhtml+xml", "text/html", "application/x-dtbook+xml")


def open_zip(path: Path) -> zipfile.ZipFile:
    """The file, if what it unpacks to can be held. LuthierError otherwise."""
    try:
        archive = zipfile.ZipFile(path)
    except (zipfile.BadZipFile, ValueError) as error:
        raise unreadable(path.name, "is damaged: it cannot be unpacked.") from error
    if sum(info.file_size for info in archive.infolist()) > _MOST_BYTES:
        archive.close()
        raise unreadable(path.name, f"unpacks to over {_MOST_BYTES // 10**6:,} MB.")
    if any(info.flag_bits & 1 for info in archive.infolist()):
        archive.close()
        raise unreadable(path.name, "is encrypted.", "Save it without a password.")
    return archive


def read_epub(path: Path) -> Document:
    """The chapters of a book in the order of its spine."""
    left_out: Counter[str] = Counter()
    blocks: list[Block] = []
    with open_zip(path) as archive:
        try:
            _refuse_protection(path, archive)
            for name in _spine(archive):
                blocks += blocks_of(archive.read(name), left_out)
        except (KeyError, etree.XMLSyntaxError, zipfile.BadZipFile, OSError, EOFError) as error:
            reason = f"is damaged: {error}." if str(error) else "is damaged."
            raise unreadable(path.name, reason) from error
    return Document(path.name, "EPUB", blocks, left_out)


def _parsed(block: bytes) -> etree._Element:
    parser = etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False)
    return etree.fromstring(block, parser)


def _refuse_protection(path: Path, archive: zipfile.ZipFile) -> None:
    if "META-INF/encryption.xml" not in archive.namelist():
        return
    root = _parsed(archive.read("META-INF/encryption.xml"))
    methods = [element.get("Algorithm") for element in root.iter("{*}EncryptionMethod")]
    if any(method not in _FONTS_ONLY for method in methods):
        raise unreadable(
            path.name, "is protected against copying (DRM).", "Luthier reads unprotected books."
        )


def _spine(archive: zipfile.ZipFile) -> list[str]:
    """The names of a book's pages in their order."""
    container = _parsed(archive.read(_CONTAINER))
    rootfile = container.find(".//{*}rootfile")
    package_name = "" if rootfile is None else rootfile.get("full-path") or ""
    package = _parsed(archive.read(package_name))
    folder = posixpath.dirname(package_name)
    items = {
        item.get("id"): posixpath.normpath(
            posixpath.join(folder, unquote((item.get("href") or "").partition("#")[0]))
        )
        for item in package.iterfind(".//{*}manifest/{*}item")
        if item.get("media-type") in _PAGES and "nav" not in (item.get("properties") or "").split()
    }
    order = package.iterfind(".//{*}spine/{*}itemref")
    return [
        items[reference.get("idref")]
        for reference in order
        if reference.get("idref") in items and reference.get("linear") != "no"
    ]


def read_docx(path: Path) -> Document:
    """A Word document, through mammoth, which knows its styles and notes."""
    import mammoth

    open_zip(path).close()
    left_out: Counter[str] = Counter()
    titles = "p[style-name='Title'] => h1:fresh\np[style-name='Subtitle'] => h2:fresh"
    images = mammoth.images.img_element(lambda image: {})
    try:
        with path.open("rb") as file:
            converted = mammoth.convert_to_html(file, style_map=titles, convert_image=images)
    except Exception as error:
        raise unreadable(path.name, f"is damaged: {type(error).__name__}.") from error
    return Document(path.name, "DOCX", blocks_of(converted.value, left_out), left_out)
