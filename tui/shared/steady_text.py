"""A text that is painted only where it changes: what is polled must not cost a remote terminal
anything while nothing happens, and little while only seconds count."""

from __future__ import annotations

from itertools import zip_longest
from typing import Self

from textual.content import Content
from textual.geometry import Region
from textual.strip import Strip
from textual.visual import Visual, VisualType
from textual.widgets import Static

from tui.shared.changed_cells import changed_cells

_NOTHING = Strip.blank(0)


class SteadyText(Static):
    """A Static that may be given the same text again and again."""

    _changed: tuple[Region, ...] = ()
    """What `update` leaves for the `refresh` that it calls to paint; empty for all."""

    def update(self, content: VisualType = "", *, layout: bool = True) -> None:
        if _same(self.content, content):
            return
        self._changed = self._differing(content)
        super().update(content, layout=layout and not self._fits_as_before(content))
        self._changed = ()

    def refresh(
        self, *regions: Region, repaint: bool = True, layout: bool = False, recompose: bool = False
    ) -> Self:
        regions = regions or self._changed
        return super().refresh(*regions, repaint=repaint, layout=layout, recompose=recompose)

    def _differing(self, now: VisualType) -> tuple[Region, ...]:
        """The cells that this text changes. If it gets another size, the layout paints all of it
        anyway."""
        before = self.content
        if not (self.size and isinstance(before, Content) and isinstance(now, Content)):
            return ()
        rows = zip_longest(self._strips(before), self._strips(now), fillvalue=_NOTHING)
        regions = (changed_cells(*strips, y) for y, strips in enumerate(rows))
        return tuple(region for region in regions if region)

    def _strips(self, content: Content) -> list[Strip]:
        return Visual.to_strips(self, content, *self.size, self.visual_style)

    def _fits_as_before(self, now: VisualType) -> bool:
        """Whether the widget keeps its size, so that the screen need not be laid out again: its
        style fixes it, or this text takes exactly the cells of the last one without wrapping."""
        if not self.styles.auto_dimensions:
            return True
        before, room = self.content, self.content_size.width
        if not (isinstance(before, Content) and isinstance(now, Content)):
            return False
        widths = [line.cell_length for line in now.split()]
        return widths == [line.cell_length for line in before.split()] and max(widths) <= room


def _same(before: VisualType, now: VisualType) -> bool:
    """Whether two texts look the same: `==` would miss a changed colour."""
    if isinstance(before, Content) and isinstance(now, Content):
        return before.is_same(now)
    return isinstance(before, str) and isinstance(now, str) and before == now
