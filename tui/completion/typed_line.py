"""A command line as far as it has been typed, in POSIX quoting: its words, and how the last one
goes on."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass

_BLANKS = " \t\n"
_ESCAPED_IN_DOUBLE_QUOTES = '"$`\\\n'
_PLAIN = re.compile(r"[A-Za-z0-9_./@%+,:=-]")


@dataclass
class Word:
    """A word without its quoting."""

    text: str = ""
    quote: str = ""
    """The quotation mark that is still open."""
    settled: int = 0
    """How much of the text stands before the part that bash replaces: bash ends a word at an
    unquoted break, such as = or :, and at an open quotation mark."""


def words_of(line: str, breaks: str = "") -> list[Word]:
    """The words of a line; the last is the one being typed, empty after a blank."""
    words = [Word()]
    is_begun, at = False, 0
    while at < len(line):
        word = words[-1]
        if word.quote or line[at] not in _BLANKS:
            at += _take(word, line[at], line[at + 1 : at + 2], breaks)
            is_begun = True
        else:
            if is_begun:
                words.append(Word())
            is_begun = False
            at += 1
    return words


def _take(word: Word, character: str, follower: str, breaks: str) -> int:
    """Read a character into a word, or two after a backslash: how many they were."""
    if character == word.quote:
        word.quote = ""
    elif word.quote == "'" or (word.quote and character != "\\"):
        word.text += character
    elif word.quote:
        word.text += follower if follower in _ESCAPED_IN_DOUBLE_QUOTES else character + follower
        return 2
    elif character == "\\":
        word.text += follower
        return 2
    elif character in "'\"":
        word.quote = character
        word.settled = len(word.text)
    else:
        word.text += character
        if character in breaks:
            word.settled = len(word.text)
    return 1


def continued(word: Word, text: str) -> str:
    """What bash is to write in place of what it takes for the word, so that the word is `text`."""
    ending = text[word.settled :]
    if word.quote:
        inside = _within(word.quote, ending)
        # bash closes the quotation itself, unless it takes the last character for its end
        return inside + word.quote if inside.endswith(word.quote) else inside
    if not ending.isprintable():
        return f"$'{''.join(map(_spelled_out, ending))}'"
    return "".join(
        character if _PLAIN.match(character) or not character.isascii() else f"\\{character}"
        for character in ending
    )


def _within(quote: str, text: str) -> str:
    if quote == "'":
        return text.replace("'", "'\\''")
    # a backslash does not take the meaning of ! in double quotes, single quotes do
    return re.sub(r'[$`"\\]', r"\\\g<0>", text).replace("!", "\"'!'\"")


def _spelled_out(character: str) -> str:
    if character in "\\'":
        return f"\\{character}"
    if character.isprintable():
        return character
    return "".join(f"\\x{byte:02x}" for byte in os.fsencode(character))
