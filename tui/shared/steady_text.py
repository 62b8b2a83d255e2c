"""A text that is painted only when it changes: what is polled must not cost a remote terminal
anything while nothing happens."""

from __future__ import annotations

from textual.content import Content
from textual.visual import VisualType
from textual.widgets import Static


class SteadyText(Static):
    """A Static that may be told the same text again and again."""

    def update(self, content: VisualType = "", *, layout: bool = True) -> None:
        if not _same(self.content, content):
            grown = not self._fits_as_before(content)
            super().update(content, layout=layout and grown)

    def _fits_as_before(self, now: VisualType) -> bool:
        """Whether this text takes exactly the cells of the last one, without wrapping: then the
        screen need not be laid out anew."""
        before, room = self.content, self.content_size.width
        if not (isinstance(before, Content) and isinstance(now, Content)):
            return False
        widths = [line.cell_length for line in now.split()]
        return widths == [line.cell_length for line in before.split()] and max(widths) <= room


def _same(before: VisualType, now: VisualType) -> bool:
    """Whether two texts look the same: `==` would not tell a colour that has changed."""
    if isinstance(before, Content) and isinstance(now, Content):
        return before.is_same(now)
    return isinstance(before, str) and isinstance(now, str) and before == now
