"""A sample's tokens as a person sees them: which are trained, where a turn stops, what weighs
otherwise, and lines that hold them.

What is trained stands between two signs, so that it can be told without colours and in plain text.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from rich.cells import cell_len

from models.stored_sample import UNTRAINED, StoredSample
from trainer.data.inspection import Vocabulary
from trainer.data.ledger import Entry, describe
from tui.shared.foreign_text import spelled_out
from tui.shared.glyphs import glyphs

Kind = Literal["untrained", "trained", "stop", "mark"]
Run = tuple[str, Kind]


@dataclass(frozen=True, slots=True)
class Token:
    """`text` is what it adds to the sample's text: empty for all but the last part of a character
    that several tokens make."""

    id: int
    text: str
    raw: bytes
    kind: Kind
    weight: float

    @property
    def shown(self) -> str:
        """The token alone, in quotes; a part of a character in hexadecimal."""
        try:
            return f'"{spelled_out(self.raw.decode())}"'
        except UnicodeDecodeError:
            return f"<{self.raw.hex(' ')}>"


def tokens_of(sample: StoredSample, vocabulary: Vocabulary) -> list[Token]:
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    stops = set(vocabulary.stop_ids)
    weights = sample.weights or [1.0] * len(sample.input_ids)
    tokens = []
    for number, label, weight in zip(sample.input_ids, sample.labels, weights, strict=True):
        raw = vocabulary.raw(number)
        text = decoder.decode(raw)
        if label == UNTRAINED:
            tokens.append(Token(number, text, raw, "untrained", 0.0))
        else:
            kind: Kind = "stop" if number in stops else "trained"
            tokens.append(Token(number, text, raw, kind, weight))
    return tokens


def runs_of(tokens: Iterable[Token]) -> list[list[Run]]:
    """The sample's text, token by token, each with its signs before and after it."""
    signs = glyphs()
    token_runs: list[list[Run]] = []
    weight, open_end = 1.0, False
    for token in tokens:
        runs: list[Run] = []
        if token.kind == "untrained" and open_end:
            runs.append((signs.trained_end, "mark"))
            open_end = False
        elif token.kind != "untrained" and (not open_end or token.weight != weight):
            runs.append(
                (signs.trained_start + ("" if token.weight == 1 else f"x{token.weight:g} "), "mark")
            )
            weight, open_end = token.weight, True
        if token.text:
            runs.append((token.text, token.kind))
        if token.kind == "stop":
            runs.append((signs.stop, "mark"))
            open_end = False
        token_runs.append(runs)
    if open_end:
        token_runs.append([(signs.trained_end, "mark")])
    return token_runs


def lines_of(tokens: Sequence[Token], width: int, newlines: bool = True) -> list[list[Run]]:
    """The text in lines of at most `width` cells, broken at newlines, else before a token that
    begins a word."""
    wrap = _Wrap(max(8, width))
    for runs in runs_of(tokens):
        for text, kind in runs:
            parts = text.split("\n")
            for index, part in enumerate(parts):
                last = index == len(parts) - 1
                if part:
                    wrap.add(spelled_out(part), kind)
                if not last:
                    wrap.add(glyphs().newline if newlines else " ", kind)
                    wrap.end_line()
    wrap.end_line()
    return wrap.lines


class _Wrap:
    def __init__(self, width: int) -> None:
        self.lines: list[list[Run]] = []
        self._width = width
        self._line: list[Run] = []
        self._cells = 0

    def add(self, text: str, kind: Kind) -> None:
        cells = cell_len(text)
        if self._cells + cells > self._width and self._line:
            self._break_before(text)
        if self._cells + cells > self._width:
            self.end_line()
        while cells > self._width:  # one token longer than a line
            head = _head(text, self._width)
            self.lines.append([(head, kind)])
            text = text[len(head) :]
            cells = cell_len(text)
        if text:
            self._line.append((text, kind))
            self._cells += cells

    def _break_before(self, text: str) -> None:
        """Take what belongs to the same word to the next line, if that is less than half of this
        one."""
        carried: list[Run] = []
        if not text.startswith(" "):
            word_start = next(
                (
                    at
                    for at in range(len(self._line) - 1, 0, -1)
                    if self._line[at][0].startswith(" ")
                ),
                0,
            )
            if (
                word_start
                and sum(cell_len(part) for part, _ in self._line[word_start:]) <= self._width // 2
            ):
                carried = self._line[word_start:]
                del self._line[word_start:]
        self.end_line()
        self._line, self._cells = carried, sum(cell_len(part) for part, _ in carried)

    def end_line(self) -> None:
        if self._line:
            self.lines.append(self._line)
        self._line, self._cells = [], 0


def _head(text: str, width: int) -> str:
    """As much of the text's beginning as fits."""
    cells = 0
    for index, char in enumerate(text):
        cells += cell_len(char)
        if cells > width:
            return text[: max(1, index)]
    return text


def sign_and_word(kind: Kind) -> str:
    """A token's class without colours: a glyph and a word, the same in the app and on the command
    line."""
    signs = glyphs()
    return {
        "trained": f"{signs.trained_start} yes",
        "stop": f"{signs.stop} stop",
        "untrained": "  no",
        "mark": "",
    }[kind]


def legend() -> list[tuple[str, str]]:
    """The signs and what they say."""
    signs = glyphs()
    return [
        (signs.trained_start, "trained from here"),
        (signs.stop, "up to this stop token"),
        (signs.trained_end, "ends without one"),
        (f"{signs.trained_start}x0.5", "weight"),
    ]


def plain_tokens(text: str) -> list[Token]:
    """A text that is no sample, word by word, to be shown in the same way."""
    words = re.findall(r"\n| *[^\s]+|\s", text)
    return [Token(-1, word, word.encode(errors="replace"), "untrained", 0.0) for word in words]


def why(entry: Entry) -> str:
    """Why a row is not as it was, in words."""
    reasons = "; ".join(describe(code) for code in entry.reasons)
    return f"{reasons}: {entry.detail}" if entry.detail else reasons
