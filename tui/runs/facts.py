"""Figures under each other: a muted name on the left, the value flush right, so that nothing
jumps."""

from __future__ import annotations

from textual.content import Content
from textual.events import Resize
from textual.widgets import Static


class Figures(Static):
    def __init__(self) -> None:
        super().__init__()
        self._pairs: list[tuple[str, str]] = []

    def show(self, pairs: list[tuple[str, str]]) -> None:
        if pairs != self._pairs:
            grown = len(pairs) != len(self._pairs)
            self._pairs = pairs
            self._redraw(grown)

    def on_resize(self, event: Resize) -> None:
        self._redraw(grown=False)

    def _redraw(self, grown: bool) -> None:
        """Only another number of lines needs the screen to be laid out anew."""
        width = self.size.width
        lines = []
        for name, value in self._pairs:
            room = max(1, width - len(name) - 1)
            content = Content(value).truncate(room, ellipsis=True)
            lines.append(
                Content.assemble(
                    (name, "$foreground-muted"),
                    " " * (width - len(name) - content.cell_length),
                    content,
                )
            )
        self.update(Content("\n").join(lines), layout=grown)
