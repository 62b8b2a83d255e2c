"""On a terminal without Unicode, what Textual draws by itself becomes ASCII too: borders, scroll
bars, the dots of a text that is cut."""

from __future__ import annotations

from rich.segment import Segment
from textual.color import Color
from textual.filter import LineFilter

_SIGNS = {
    "-": "─━┄┅┈┉╌╍═╴╶╸╺▁▔",
    "|": "│┃┆┇┊┋╎╏║▏▕▎▌▐",
    "+": "┌┐└┘├┤┬┴┼╭╮╯╰╔╗╚╝╠╣╦╩╬┏┓┗┛┣┫┳┻╋",
    "#": "▀▂▃▄▅▆▇█▉▊▋▍░▒▓■",
    "~": "…",
    "v": "▼▾",
    "^": "▲▴",
    ">": "▶▸→",
    "<": "◀◂←",
    "*": "•●",
}
_TABLE = str.maketrans({sign: plain for plain, signs in _SIGNS.items() for sign in signs})


class AsciiFilter(LineFilter):
    """Every sign by one that is as wide. The words of models and users stay as they are."""

    def apply(self, segments: list[Segment], background: Color) -> list[Segment]:
        return [
            segment
            if segment.text.isascii()
            else Segment(segment.text.translate(_TABLE), segment.style, segment.control)
            for segment in segments
        ]
