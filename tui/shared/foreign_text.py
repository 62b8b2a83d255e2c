"""Text that Luthier did not write, on its way to a terminal: a model's answer, a data file, a job's
events, the name of a file.

A terminal obeys control characters, and marks that turn the direction of text would scramble the
line that they are drawn on. Each becomes a sign that can be seen and takes one cell. Line breaks
and tabs stay, and so does whatever joins characters: emoji, accents.
"""

from __future__ import annotations

import re
import unicodedata

from tui.shared.glyphs import glyphs

# C0 without tab and line break, DEL, C1, the marks that override or isolate a direction, and halves
# of characters (of a file's name that is no UTF-8, say), which no terminal can be sent.
_BEYOND_ASCII = "\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff"
FOREIGN = f"\x00-\x08\x0b-\x1f{_BEYOND_ASCII}"
"""All of these, for a class of a regular expression."""
_FOREIGN = re.compile(f"[{FOREIGN}]")
_RAW_IN_JSON = re.compile(f"[{_BEYOND_ASCII}]")
_HALF_CHARACTER = re.compile("[\ud800-\udfff]")
_JOINERS = "\u200d\ufe0f"


def visible(text: str) -> str:
    """The text with nothing in it but line breaks, tabs and what can be seen. Carriage returns are
    left out."""
    return _FOREIGN.sub(_sign, text)


def one_line(text: str) -> str:
    """The text where there is room for one line: line breaks and tabs are signs, too."""
    return visible(text).replace("\n", glyphs().newline).replace("\t", glyphs().tab)


def spelled_out(text: str) -> str:
    """The text in one line, for those who look for what cannot be seen: whatever has neither shape
    nor picture is named by its number."""
    if text.isprintable():
        return text
    return one_line(
        "".join(char if char.isprintable() or char in _JOINERS else _named(char) for char in text)
    )


def json_on_a_terminal(text: str) -> str:
    """JSON that says the same, with escapes for what it leaves raw and a terminal would obey."""
    return _RAW_IN_JSON.sub(_json_escape, text)


def json_in_a_pipe(text: str) -> str:
    """JSON as it is, with escapes for halves of characters alone: no encoding has bytes for
    them."""
    return _HALF_CHARACTER.sub(_json_escape, text)


def _sign(match: re.Match[str]) -> str:
    return "" if match[0] == "\r" else _picture(match[0])


def _picture(char: str) -> str:
    code = ord(char)
    if code < 0x20:
        return chr(0x2400 + code)
    return "\u2421" if code == 0x7F else "\ufffd"


def _json_escape(match: re.Match[str]) -> str:
    return f"\\u{ord(match[0]):04x}"


def _named(char: str) -> str:
    if char in "\n\t":
        return char
    if char.isascii():
        return _picture(char)
    return " " if unicodedata.category(char) == "Zs" else f"<U+{ord(char):04X}>"
