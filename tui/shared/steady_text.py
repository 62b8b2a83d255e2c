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
            super().update(content, layout=layout)


def _same(before: VisualType, now: VisualType) -> bool:
    """Whether two texts look the same: `==` would not tell a colour that has changed."""
    if isinstance(before, Content) and isinstance(now, Content):
        return before.is_same(now)
    return isinstance(before, str) and isinstance(now, str) and before == now
