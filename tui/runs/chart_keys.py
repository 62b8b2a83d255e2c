"""What the keys of a screen with charts do to them."""

from __future__ import annotations

from tui.runs.chart_board import ChartBoard
from tui.shared.screen import LuthierScreen

CHART_ACTIONS = (
    "scale",
    "smooth",
    "zoom",
    "pan",
    "whole",
    "cursor",
    "mark",
    "full",
    "export",
    "chart",
)
"""They need a point to be drawn."""


class ChartKeys(LuthierScreen):
    """A screen that shows a ChartBoard."""

    @property
    def board(self) -> ChartBoard:
        raise NotImplementedError

    def action_chart(self, step: int) -> None:
        self.board.choose(step)

    def action_scale(self) -> None:
        self.board.switch_scale()

    def action_smooth(self, step: int) -> None:
        self.board.smooth(step)

    def action_zoom(self, factor: float) -> None:
        self.board.zoom(factor)

    def action_pan(self, share: float) -> None:
        self.board.pan(share)

    def action_whole(self) -> None:
        self.board.whole()

    def action_cursor(self, cells: int) -> None:
        self.board.move_cursor(cells)

    def action_mark(self, direction: int) -> None:
        self.board.to_mark(direction)

    def action_full(self) -> None:
        self.toggle_class("-full")
