"""Rows from JSON: one value a line, an array, an object that holds one list of rows, or values one
after another.

The standard library's scanner does the reading, on a window that grows only as far as the row at
hand: a file of any size streams, and a file that is cut off gives every row that it has in full.
"""

from __future__ import annotations

import codecs
import json
import math
import re
from collections.abc import Iterator
from typing import Any

from jobs import foreign_json
from trainer.data.files_columns import TOO_LARGE, begins_as_table, by_rows
from trainer.data.formats_turns import DEEPEST, LIST_COLUMNS, is_deep, turn_keys
from trainer.data.streams import CHUNK, LONGEST_ROW, TOO_LONG, Line, Piece, Reader, lines

_SPACE = re.compile(r"[ \t\n\r]*")
_KEY = re.compile(r'[ \t\n\r]*("[^"\\]*+(?:\\.[^"\\]*+)*+")[ \t\n\r]*:[ \t\n\r]*')
# How far from the window's end an error may lie and still mean that the window ends too early:
# "-Infinity" has 9 signs, "\ud83d" 6.
_EDGE = 16
_LITERALS = ("true", "false", "null", "NaN", "Infinity", "-Infinity")
_SNIFFED = 1 << 18
_TOO_DEEP = "nested too deeply to be read"
_HALF_OF_A_PAIR = (
    "contains half of a surrogate pair (like \\ud83d alone), which is not valid in text"
)


class Decoder:
    """json's own, with NaN and Infinity read as null (pandas writes them for what is missing) and
    repeated keys noticed."""

    def __init__(self) -> None:
        self._json = json.JSONDecoder(
            object_pairs_hook=self._object, parse_float=_number, parse_constant=lambda _: None
        )
        self.repeated: str | None = None

    def _object(self, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        value = dict(pairs)
        if len(value) != len(pairs):
            keys = [key for key, _ in pairs]
            self.repeated = next(key for key in keys if keys.count(key) > 1)
        return value

    def read(self, text: str, start: int = 0) -> tuple[Any, int]:
        self.repeated = None
        return self._json.raw_decode(text, start)

    def piece(self, value: Any, source: str, size: int) -> Piece:
        """A decoded value as a row: `source` is its text, looked at for what the decoder lets
        through."""
        if self.repeated is not None:
            return Piece(None, f"it has the key `{self.repeated}` twice in one object", size)
        if source.count("[") + source.count("{") > DEEPEST and is_deep(value):
            return Piece(None, _TOO_DEEP, size)
        if ("\\ud" in source or "\\uD" in source) and not _encodable(value):
            return Piece(None, _HALF_OF_A_PAIR, size)
        if isinstance(value, list) and value and all(isinstance(item, dict) for item in value):
            return Piece({"messages": value}, None, size)
        if not isinstance(value, dict):
            return Piece(None, f"it is {_kind_of(value)}, not an object", size)
        return Piece(value, None, size)


def json_rows(reader: Reader, *, by_line: bool) -> Iterator[Piece]:
    """The rows of a JSON text. `by_line` says that the file's name promises one value a line; what
    it holds decides."""
    yield from by_rows(
        _line_rows(reader) if _is_by_line(reader, by_line) else _Document(reader).rows()
    )


def _is_by_line(reader: Reader, promised: bool) -> bool:
    """Whether each line is a value of its own. A name that promises it is believed unless the text
    is plainly one value over many lines; without such a name, most lines that begin like a row must
    be whole ones."""
    head = reader.head[:_SNIFFED].decode(reader.encoding, errors="replace").removeprefix("\ufeff")
    is_cut = len(reader.head) > _SNIFFED
    begun = [line for line in head.split("\n")[: -1 if is_cut else None] if line.strip()]
    if not begun:  # the first line is longer than the look
        return promised and not head.lstrip().startswith("[")
    first, are_values = begun[0].lstrip()[:1], [_is_value(line) for line in begun]
    if first not in ("[", "{"):
        return True
    if len(begun) == 1:
        return promised and first == "{"
    rows = sum(
        done and line.lstrip()[0] == "{" for line, done in zip(begun, are_values, strict=True)
    )
    if promised:
        mostly_rows = 2 * rows >= len(begun) - 1
        return are_values[0] or not _goes_on(
            head, begun[0], mostly_rows=mostly_rows, head_is_cut=is_cut
        )
    return are_values[0] if first == "[" else any(are_values) and 2 * rows >= len(begun)


def _goes_on(head: str, first_line: str, *, mostly_rows: bool, head_is_cut: bool) -> bool:
    """Whether the value that the first line begins goes on over the next ones. Among whole rows one
    must not break off, and what follows it must be values, too."""
    begin = head.index(first_line)
    second_line = _SPACE.match(head, begin + len(first_line)).end()  # type: ignore[union-attr]
    try:
        _, end = json.JSONDecoder().raw_decode(
            head, begin + len(first_line) - len(first_line.lstrip())
        )
    except json.JSONDecodeError as error:
        return not mostly_rows and error.pos > second_line
    except (ValueError, RecursionError):
        return False
    return not mostly_rows or _are_values(head, end, head_is_cut=head_is_cut)


def _are_values(head: str, at: int, *, head_is_cut: bool) -> bool:
    """Whether only whole values follow; the last one may be cut where the head is."""
    while (at := _SPACE.match(head, at).end()) < len(head):  # type: ignore[union-attr]
        try:
            _, at = json.JSONDecoder().raw_decode(head, at)
        except json.JSONDecodeError as error:
            return head_is_cut and _is_cut(error, head)
        except (ValueError, RecursionError):
            return False
    return True


def _is_value(line: str) -> bool:
    try:
        foreign_json.decode(line, "a line", lenient=True)
    except foreign_json.Damaged:
        return False
    return True


def _line_rows(reader: Reader) -> Iterator[Piece]:
    decoder = Decoder()
    last: Line | None = None
    for line in lines(reader):
        if last is not None:
            yield from _line_pieces(decoder, last, unfinished=None)
        last = line
    if last is not None:
        yield from _line_pieces(
            decoder, last, unfinished=reader.failure or "the file ends in the middle of a row"
        )
    if reader.failure is not None:
        yield Piece(None, f"here {reader.failure}; the rest is lost", 0)


def _line_pieces(decoder: Decoder, line: Line, unfinished: str | None) -> Iterator[Piece]:
    """The values of a line, mostly one; `unfinished` is the reason if the line is the file's last
    and breaks off."""
    if line.data is None:
        yield Piece(None, TOO_LONG, line.size)
        return
    try:
        text = line.data.decode()
    except UnicodeDecodeError as error:
        yield Piece(
            None, f"invalid UTF-8 at byte {line.start + error.start} ({error.reason})", line.size
        )
        return
    at, size = _SPACE.match(text).end(), line.size  # type: ignore[union-attr]
    while at < len(text):
        try:
            value, end = decoder.read(text, at)
        except (ValueError, RecursionError) as error:
            cut = (
                unfinished
                if isinstance(error, json.JSONDecodeError) and _is_cut(error, text)
                else None
            )
            yield Piece(None, cut or _broken(error, text, line.start), size)
            return
        end = _SPACE.match(text, end).end()  # type: ignore[union-attr]
        taken = size if end == len(text) else len(text[at:end].encode())
        yield decoder.piece(value, text, taken)
        at, size = end, size - taken


class _Document:
    """A window on a JSON text: `text[at:]` is what is still to be read, `before` the bytes that
    came before `text`."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._utf8 = codecs.getincrementaldecoder("utf-8")("surrogateescape")
        self._decoder = Decoder()
        self.text, self.at, self.before, self.ended = "", 0, 0, False

    def rows(self) -> Iterator[Piece]:
        try:
            while opening := self._next():
                if opening == "[":
                    self.at += 1
                    yield from self._array()
                elif opening == "{" and (start := self._rows_start()) is not None:
                    self.at = start
                    yield from self._array()
                    yield from self._after_rows()
                elif opening == "{":
                    yield self._row()
                else:
                    raise _Broken(
                        f"broken JSON at byte {self._place()}: expected an object or an array"
                    )
        except _Broken as broken:
            yield Piece(None, f"{broken}; nothing after it can be read", self._drain())
        else:
            if self._reader.failure is not None:
                yield Piece(None, f"here {self._reader.failure}; the rest is lost", 0)

    def _array(self) -> Iterator[Piece]:
        while (sign := self._next()) != "]":
            if not sign:
                raise _Broken(self._cut_off())
            yield self._row()
            sign = self._next()
            if sign == ",":
                self.at += 1
            elif sign and sign != "]":
                raise _Broken(
                    f"broken JSON at byte {self._place()}: expected a comma or the array's end"
                )
        self.at += 1

    def _row(self) -> Piece:
        value, taken = self._value()
        try:
            size = len(taken.encode())
        except UnicodeEncodeError as error:
            offset = self._place(self.at - len(taken) + error.start)
            return Piece(
                None,
                f"invalid UTF-8 at byte {offset}",
                len(taken.encode("utf-8", "surrogateescape")),
            )
        return self._decoder.piece(value, taken, size)

    def _value(self) -> tuple[Any, str]:
        """The value that begins here, and its text; the window grows until it is whole."""
        while True:
            try:
                value, end = self._decoder.read(self.text, self.at)
            except json.JSONDecodeError as error:
                if self.ended or not _may_go_on(error, self.text):
                    raise _Broken(
                        self._cut_off()
                        if self.ended and _is_cut(error, self.text)
                        else self._broken(error)
                    ) from None
            except (ValueError, RecursionError) as error:
                raise _Broken(self._broken(error)) from None
            else:
                if end < len(self.text) or self.ended:
                    taken = self.text[self.at : end]
                    self.at = end
                    return value, taken
            if len(self.text) - self.at > LONGEST_ROW:
                layout = TOO_LARGE if begins_as_table(self.text[self.at : self.at + CHUNK]) else ""
                raise _Broken(f"the row at byte {self._place()} is {TOO_LONG}{layout}")
            self._grow()

    def _rows_start(self) -> int | None:
        """Where the list begins if the object here is a wrapping of rows, `{"data": [{...}, ...]}`;
        None if it is a row."""
        at = self.at + 1
        while key := _KEY.match(self.text, at):
            at = key.end()
            opening = self.text[at : at + 1]
            if opening == "[" and self._holds_rows(key[1], at + 1):
                return at + 1
            try:
                _, at = self._decoder.read(self.text, at)
            except (ValueError, RecursionError):
                return None
            at = _SPACE.match(self.text, at).end()  # type: ignore[union-attr]
            if self.text[at : at + 1] != ",":
                return None
            at += 1
        return None

    def _holds_rows(self, key: str, at: int) -> bool:
        first = _SPACE.match(self.text, at).end()  # type: ignore[union-attr]
        if key[1:-1].lower() in LIST_COLUMNS or self.text[first : first + 1] not in ("{", "["):
            return False
        try:
            item, _ = self._decoder.read(self.text, first)
        except (ValueError, RecursionError):
            return self.text[first] == "{"
        if isinstance(item, list):
            return bool(item) and isinstance(item[0], dict)
        return turn_keys(item) is None

    def _after_rows(self) -> Iterator[Piece]:
        """The rest of the object that wraps the rows. A second list of rows would be lost, so it is
        reported."""
        while (sign := self._next()) == ",":
            self.at += 1
            self._next()
            key = self._value()[0]
            if self._next() != ":":
                break
            self.at += 1
            self._next()
            start = self._place()
            value, taken = self._value()
            if isinstance(value, list) and value and isinstance(value[0], dict):
                size = len(taken.encode("utf-8", "surrogateescape"))
                yield Piece(
                    None,
                    f"a second list of rows, `{key}`, at byte {start}; Luthier reads only the"
                    " first",
                    size,
                )
        if sign != "}":
            raise _Broken(
                f"broken JSON at byte {self._place()}: expected the object's end"
                if self._next()
                else self._cut_off()
            )
        self.at += 1

    def _next(self) -> str:
        """The next sign that is not space; "" at the end."""
        while True:
            self.at = _SPACE.match(self.text, self.at).end()  # type: ignore[union-attr]
            if self.at < len(self.text):
                return self.text[self.at]
            if self.ended:
                return ""
            self._grow()

    def _grow(self) -> None:
        """Read on until the window is twice what is left of it, so that a long row is not begun
        again for each chunk."""
        self.before, left = self._place(), self.text[self.at :]
        parts, missing = [left], len(left)
        while missing >= 0 and not self.ended:
            chunk = self._reader.read()
            self.ended = not chunk
            parts.append(self._utf8.decode(chunk, final=not chunk))
            missing -= max(1, len(parts[-1]))
        self.text, self.at = "".join(parts), 0

    def _place(self, at: int | None = None) -> int:
        """The byte at which `text[at]` stands, by default the one to be read next."""
        return self.before + len(
            self.text[: self.at if at is None else at].encode("utf-8", "surrogateescape")
        )

    def _drain(self) -> int:
        left = len(self.text[self.at :].encode("utf-8", "surrogateescape"))
        while chunk := self._reader.read():
            left += len(chunk)
        return left

    def _cut_off(self) -> str:
        return (
            self._reader.failure
            or "the file ends in the middle of its JSON (was the download cut off?)"
        )

    def _broken(self, error: ValueError | RecursionError) -> str:
        return _broken(error, self.text, self.before)


class _Broken(Exception):
    """Nothing after this place can be read."""


def _may_go_on(error: json.JSONDecodeError, text: str) -> bool:
    """Whether more text might have made it whole."""
    return error.msg.startswith("Unterminated string") or error.pos >= len(text) - _EDGE


def _is_cut(error: json.JSONDecodeError, text: str) -> bool:
    """Whether the text ends in the middle of a value, as against being wrong near its end."""
    tail = text[error.pos :].strip()
    return (
        error.msg.startswith("Unterminated string")
        or any(literal.startswith(tail) for literal in _LITERALS)
        or tail[:1] == "\\"
    )


def _broken(error: ValueError | RecursionError, text: str, before: int) -> str:
    if isinstance(error, json.JSONDecodeError):
        offset = before + len(text[: error.pos].encode("utf-8", "surrogateescape"))
        message = error.msg.removesuffix(" starting at").removesuffix(" at")
        return f"broken JSON at byte {offset}: {message[:1].lower()}{message[1:]}"
    if isinstance(error, RecursionError):
        return _TOO_DEEP
    return "contains a number that is too large"


def _number(text: str) -> float:
    number = float(text)
    if math.isinf(number):
        raise ValueError(text)
    return number


def _encodable(value: Any) -> bool:
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return False
    return True


def _kind_of(value: Any) -> str:
    names = {
        str: "a text",
        bool: "a truth value",
        int: "a number",
        float: "a number",
        list: "a list",
        type(None): "null",
    }
    return names.get(type(value), "a value")
