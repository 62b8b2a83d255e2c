"""The row under the cursor where the terminal's own 16 colours are drawn: all of it in the cursor's
ink, for what is muted or coloured elsewhere could not be read on the cursor's blue."""

from __future__ import annotations

from rich.color import ColorType
from rich.segment import Segment
from rich.style import Style
from textual.color import Color
from textual.filter import LineFilter

_BLUE = 4
_INK = Style(color="bright_white")


class PaletteFilter(LineFilter):
    """`tui.themes` has the cursor's colours of this theme."""

    def apply(self, segments: list[Segment], background: Color) -> list[Segment]:
        return [
            Segment(text, style + _INK, control)
            if style is not None and _is_under_cursor(style)
            else Segment(text, style, control)
            for text, style, control in segments
        ]


def _is_under_cursor(style: Style) -> bool:
    paper = style.bgcolor
    return paper is not None and paper.type is ColorType.STANDARD and paper.number == _BLUE
