"""What can be done on the home screen."""

from __future__ import annotations

from tui.shared.action import Action

HOME: list[Action] = [
    Action(
        "home.choose",
        "choose",
        "Plan a run on the data file, or do what is highlighted.",
        "enter",
        footer=True,
        priority=True,
    ),
    Action(
        "home.complete",
        "complete",
        "Complete the path, as in a shell.",
        "tab",
        priority=True,
    ),
    Action("home.down", "down", "The next line.", "down", call="move(1)"),
    Action("home.up", "up", "The line before.", "up", call="move(-1)"),
    Action("home.page_down", "page down", "Ten lines on.", "pagedown", call="move(10)"),
    Action("home.page_up", "page up", "Ten lines back.", "pageup", call="move(-10)"),
    Action(
        "home.demo",
        "demo",
        "Train the built-in model on the sample data, and certify it.",
        "ctrl+d",
        footer=True,
        priority=True,
    ),
    Action(
        "home.endpoint",
        "endpoint",
        "Name a server that you have, and chat with its models.",
        "ctrl+o",
        footer=True,
        priority=True,
    ),
    Action(
        "home.leave",
        "other screens",
        "Empty the text. Without one: go to Runs, where 1 to 8 open the screens.",
        "escape",
        footer=True,
    ),
]
