"""When what comes to the panes is painted: the first token of each at once, then what has come to
all in one go, at most four times a second, and the end at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from textual.widget import Widget

from tui.chat.pane import ChatPane

FLUSH_SECONDS = 0.25
"""Between two paintings of what has come, after the first token."""


class Painting:
    """`panes` are those that are in use now; `owner` is the widget that holds them."""

    def __init__(self, owner: Widget, panes: Callable[[], Sequence[ChatPane]]) -> None:
        self._panes = panes
        self._timer = owner.set_interval(FLUSH_SECONDS, self._paint_answering, pause=True)

    def begin(self) -> None:
        """Answers are coming: paint until none is."""
        self._timer.resume()

    def paint(self, pane: ChatPane) -> None:
        """Paint one now: its answer's first token came, or its end."""
        pane.show_progress()

    def _paint_answering(self) -> None:
        answering = [pane for pane in self._panes() if pane.conversation.answering]
        for pane in answering:
            self.paint(pane)
        if not answering:
            self._timer.pause()
