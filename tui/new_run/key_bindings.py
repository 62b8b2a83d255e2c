"""What can be done while a new run is planned."""

from __future__ import annotations

from tui.shared.action import Action

NEW_RUN: list[Action] = [
    Action("new_run.start", "start", "Start the run.", "enter", footer=True, priority=True),
    Action(
        "new_run.accept",
        "use proposal",
        "Change the recipe as it is proposed, so that the data can be read.",
        "ctrl+r",
        footer=True,
        priority=True,
    ),
    Action(
        "new_run.another",
        "another",
        "Show another proposal of how the data could be read.",
        "ctrl+n",
        footer=True,
        priority=True,
    ),
    Action(
        "new_run.edit",
        "TOML",
        "Open the whole recipe as TOML in your editor ($EDITOR), and come back with it.",
        "ctrl+e",
        footer=True,
        priority=True,
    ),
    Action(
        "new_run.keys",
        "all settings",
        "Every key of the recipe, with what it means and what it may be.",
        "f3",
        footer=True,
    ),
    Action(
        "new_run.files",
        "files",
        "Choose among the data files near here.",
        "ctrl+f",
        footer=True,
        priority=True,
    ),
    Action(
        "new_run.plan",
        "whole plan",
        "The whole plan: settings and why, what was tried, what would fit on which card.",
        "ctrl+o",
        footer=True,
        priority=True,
    ),
    Action("new_run.down", "scroll down", "Scroll the plan down.", "pagedown", call="page(1)"),
    Action("new_run.up", "scroll up", "Scroll the plan up.", "pageup", call="page(-1)"),
]
