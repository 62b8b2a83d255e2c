"""A list of boxes to tick. Textual's own shows a tick by colour alone."""

from __future__ import annotations

from rich.segment import Segment
from rich.style import Style
from textual.strip import Strip
from textual.widgets import SelectionList

from tui.shared.glyphs import glyphs


class CheckList(SelectionList[str]):
    def render_line(self, y: int) -> Strip:
        segments = list(super().render_line(y))
        index = self.scroll_offset.y + y
        if index >= self.option_count or len(segments) < 4:
            return Strip(segments)
        sign = (
            glyphs().checked
            if self.get_option_at_index(index).value in self.selected
            else glyphs().unchecked
        )
        box, text_style = segments[:3], segments[3].style  # three segments of one cell each: ▐X▌
        meta = box[1].style.meta if box[1].style else {}
        style = Style() + text_style + Style(meta=meta)
        signs = [Segment(text, style) for text in (sign, " ", " ")]
        return Strip([*signs, *segments[3:]])
