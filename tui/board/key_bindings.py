"""What can be done on the board."""

from __future__ import annotations

from tui.shared.action import Action

BOARD: list[Action] = [
    Action("board.open", "open run", "Open the run whose loss is drawn.", "enter", footer=True),
    Action(
        "board.next",
        "next run",
        "Draw the loss of the next run in progress, or of the last run if none is.",
        "tab,right,l",
        footer=True,
    ),
    Action("board.server", "server", "The server, with how to ask it.", "v", footer=True),
]
