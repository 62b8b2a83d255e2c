"""What can be done on the screen of settings."""

from __future__ import annotations

from tui.shared.action import Action

SETTINGS: list[Action] = [
    Action(
        "settings.change",
        "change",
        "Change the value: a switch flips, everything else asks. It is saved at once.",
        "enter",
        footer=True,
    ),
    Action(
        "settings.next",
        "next value",
        "Take the next of the possible values.",
        "space,right,l",
        footer=True,
        call="next(1)",
    ),
    Action("settings.previous", "value before", "The value before.", "left,h", call="next(-1)"),
    Action(
        "settings.default",
        "default",
        "Take the setting out of config.toml, so that its default holds.",
        "backspace",
        footer=True,
    ),
    Action(
        "settings.add",
        "add endpoint",
        "Name a server that speaks the OpenAI API, so that it can be asked, too.",
        "e",
        footer=True,
    ),
    Action(
        "settings.remove",
        "forget endpoint",
        "Take an endpoint out of config.toml. Asks first; its key stays where it is.",
        "d,delete",
        footer=True,
    ),
    Action("settings.copy", "copy path", "Copy the path of config.toml.", "c"),
]
