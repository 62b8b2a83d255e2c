"""Text in another encoding than Unicode's: told apart from damage, and named as far as it can be.
It is never guessed silently."""

from __future__ import annotations

import codecs
import re
from collections.abc import Sequence
from pathlib import Path

from jobs.luthier_error import LuthierError

# Of encodings that read the same, the first here is named.
_CANDIDATES = (
    "gb18030", "big5", "cp932", "euc_jp", "cp949", "cp1252", "cp1251", "koi8_r", "cp1250", "cp1253",
    "cp1254", "cp1255", "cp1256", "mac_roman", "iso8859_2", "cp866", "cp437",
)  # fmt: skip
# As iconv calls them, where it knows them by another name.
_ICONV = {
    "cp932": "SHIFT_JIS", "euc_jp": "EUC-JP", "cp949": "EUC-KR", "koi8_r": "KOI8-R",
    "mac_roman": "MACINTOSH", "iso8859_2": "ISO-8859-2", "utf-16-le": "UTF-16LE",
    "utf-16-be": "UTF-16BE",
}  # fmt: skip
_TITLES = {
    "gb18030": "GBK or GB18030 (Chinese)", "big5": "Big5 (Chinese)",
    "cp932": "Shift JIS (Japanese)", "euc_jp": "EUC-JP (Japanese)", "cp949": "EUC-KR (Korean)",
    "cp1252": "Windows-1252 or Latin-1 (Western European)",
    "cp1250": "Windows-1250 (Central European)", "cp1251": "Windows-1251 (Cyrillic)",
    "cp1253": "Windows-1253 (Greek)", "cp1254": "Windows-1254 (Turkish)",
    "cp1255": "Windows-1255 (Hebrew)", "cp1256": "Windows-1256 (Arabic)",
    "koi8_r": "KOI8-R (Cyrillic)", "mac_roman": "Mac Roman",
    "iso8859_2": "ISO 8859-2 (Central European)", "cp866": "DOS 866 (Cyrillic)", "cp437": "DOS 437",
    "utf-16-le": "UTF-16", "utf-16-be": "UTF-16",
}  # fmt: skip
_VALID = re.compile(rb"[\xc2-\xdf][\x80-\xbf]|[\xe0-\xef][\x80-\xbf]{2}|[\xf0-\xf4][\x80-\xbf]{3}")
_ASCII = re.compile(rb"[\x00-\x7f]+")
_UTF8 = re.compile(_ASCII.pattern + rb"|" + _VALID.pattern)
_HIGH = re.compile(rb"[\x80-\xff]+")
_LOOKED_AT = 1 << 16  # bytes around the first that are no ASCII
_CUT = re.compile(rb"[\xc2-\xf4][\x80-\xbf]{0,2}\Z")  # a sign of which the end is not there
_CONTROL = re.compile(rb"[\x00-\x08\x0e-\x1f\x7f]")  # no text has these, a damaged one may
# What Windows-1252 has for curly quotes, dashes and dots: all that English text has beyond ASCII.
_PUNCTUATION = re.compile(rb"[\x85\x91-\x97]")
# Fewer bytes that are no UTF-8, or fewer of the whole, are as likely flipped bits; Spanish has one
# accent in fifty letters.
_FEWEST, _RAREST = 3, 0.005
# Of a text whose bytes are UTF-8 as well, that is of one in ASCII, half the bytes are zeros.
_ASCII_IN_UTF16 = 8
_EXAMPLE = 40
_MOST = 3  # encodings that the error shows


def is_other(head: bytes) -> bool:
    """Whether a text is no UTF-8 as a whole, as against one in which some bytes are damaged."""
    if b"\0" in head:
        return _utf16(head) is not None
    if head.isascii() or _CONTROL.search(head):
        return False
    head = _CUT.sub(b"", head)
    invalid = _UTF8.sub(b"", head)
    if len(invalid) < _FEWEST or 4 * len(invalid) <= len(_ASCII.sub(b"", head)):
        return False
    return len(invalid) >= _RAREST * len(head) or not _PUNCTUATION.sub(b"", invalid)


def is_utf8(head: bytes) -> bool:
    """Whether a text has signs beyond ASCII, and most of them as UTF-8 writes them."""
    return not head.isascii() and not is_other(head) and b"\0" not in head


def _utf16(head: bytes) -> str | None:
    """UTF-16 without its mark: zeros in every other place, where ASCII has them. `head` has
    some."""
    even, odd = head[0::2].count(0), head[1::2].count(0)
    if 3 * min(even, odd) > max(even, odd) or max(even, odd) < _FEWEST:
        return None
    if _ASCII_IN_UTF16 * max(even, odd) < len(head) and _is_unbroken_utf8(head):
        return None
    encoding = "utf-16-le" if odd > even else "utf-16-be"
    try:
        text = codecs.getincrementaldecoder(encoding)().decode(head)
    except UnicodeDecodeError:
        return None
    return None if _CONTROL.search(text.encode("utf-8", "replace")) else encoding


def _is_unbroken_utf8(head: bytes) -> bool:
    try:
        codecs.getincrementaldecoder("utf-8")().decode(head)
    except UnicodeDecodeError:
        return False
    return True


def refusal(path: Path, head: bytes) -> LuthierError:
    """The error for a file in another encoding: the likely ones, and how each reads a line that
    shows the difference."""
    invalid = _VALID.sub(lambda match: b" " * len(match[0]), head)
    high = _HIGH.search(invalid) or _HIGH.search(head)
    offset = high.start() if high is not None else 0
    first = f"{path} is not UTF-8: the bytes at {offset}, and many others, are not valid UTF-8."
    readings = _readings(head, offset)
    if not readings:
        return LuthierError(
            _TITLE,
            first,
            "Save it as UTF-8 with the program that wrote it, or name its encoding:"
            f" {_setting('...')}.",
        )
    encoding = next(iter(readings))
    lines = zip(*(text.splitlines() for text in readings.values()), strict=False)
    example = next(
        (line for line in lines if not line[0].isascii() and len({*line}) == len(line)),
        tuple(readings.values()),
    )
    reads = [
        f"as {_TITLES.get(name, name)}: {excerpt!r}"
        for name, excerpt in zip(readings, _excerpts(example), strict=True)
    ]
    iconv = _ICONV.get(encoding, encoding.upper())
    which = (
        "Convert it from the encoding that reads correctly" if len(readings) > 1 else "Convert it"
    )
    hint = (
        f"{which}: iconv -f {iconv} -t UTF-8 {path.name} > new{path.suffix}; or read it as it is"
        f" with {_setting(encoding)}."
    )
    return LuthierError(_TITLE, f"{first} It reads correctly {', and '.join(reads)}.", hint)


_TITLE = "Not UTF-8"


def _setting(encoding: str) -> str:
    return f'[format] encoding = "{encoding}" in a recipe'


def _excerpts(lines: Sequence[str]) -> list[str]:
    """Of one line in several readings the part where they differ; of one reading, where it leaves
    ASCII."""
    signs = zip(*lines, strict=False)
    at = next(
        (
            index
            for index, (sign, *other_signs) in enumerate(signs)
            if (any(sign != other for other in other_signs) if other_signs else sign > "~")
        ),
        0,
    )
    return [line[max(0, at - _EXAMPLE // 2) : at + _EXAMPLE].strip() for line in lines]


def _readings(head: bytes, offset: int) -> dict[str, str]:
    """The likely encodings, likeliest first, with the text around a place as each reads it; those
    that read the same once."""
    if b"\0" in head:
        encoding = _utf16(head)
        return (
            {}
            if encoding is None
            else {encoding: head[: 8 * _EXAMPLE].decode(encoding, errors="ignore")}
        )
    from charset_normalizer import from_bytes  # only where a file cannot be read anyway

    start = head.rfind(b"\n", 0, max(0, offset - _LOOKED_AT // 8)) + 1
    part = head[start : start + _LOOKED_AT]
    part = part[: part.rfind(b"\n") + 1] or part
    matches = from_bytes(part, cp_isolation=list(_CANDIDATES))
    best = matches.best()
    if best is None:
        return {}
    equally_likely = [
        match for match in matches if (match.chaos, match.coherence) == (best.chaos, best.coherence)
    ]
    texts = {
        name: str(match)
        for match in equally_likely
        for name in (match.encoding, *match.could_be_from_charset)
        if name in _CANDIDATES
    }
    ordered = sorted(texts, key=_CANDIDATES.index)
    distinct = {texts[name]: name for name in reversed(ordered)}
    return {
        name: text
        for text, name in sorted(distinct.items(), key=lambda item: _CANDIDATES.index(item[1]))[
            :_MOST
        ]
    }


def check(encoding: str) -> None:
    """LuthierError for a name that no encoding of text has."""
    try:
        name = codecs.lookup(encoding).name
        "a".encode(name)
    except (LookupError, ValueError):
        message = f"format.encoding is {encoding!r}, which is not a known encoding."
        raise LuthierError(
            "Unknown encoding", message, f"Common encodings are {', '.join(_CANDIDATES[:8])}."
        ) from None
