"""The one registry of what a user can do. Bindings, footer, help and the command palette are made
from it; the rooms list their own actions."""

from __future__ import annotations

import re
from collections import defaultdict
from itertools import cycle

from textual.binding import Binding, BindingType
from textual.content import Content

from tui.runs.key_bindings import SAMPLES
from tui.screens import SCREENS, TABS
from tui.shared.action import Action, Place
from tui.shared.list_and_log_actions import LISTS, LOGS, SEARCH

_ACTION_ID = re.compile(r"\{([a-z_]+\.[a-z_]+)\}")

APP: list[Action] = [
    *(
        Action(f"app.{tab.place}", tab.title, tab.tab_help, tab.key, call=f"show('{tab.place}')")
        for tab in TABS
    ),
    Action("app.back", "back", "Go one level back. Never quits.", "escape"),
    Action("app.home", "home", "Choose how to begin: your data, the demo, or an endpoint.", "f2"),
    Action(
        "app.help",
        "help",
        "Show what you can do here, with the keys and the terms.",
        "question_mark,f1",
        footer=True,
    ),
    Action(
        "app.palette", "palette", "Find every action by its name.", "ctrl+p", call="command_palette"
    ),
    Action(
        "app.jump",
        "jump",
        "Show a letter on everything that can take the focus, and go where you press one.",
        "f6",
        priority=True,
    ),
    Action("app.theme", "theme", "Choose the colours.", "ctrl+t", call="change_theme"),
    Action(
        "app.silence",
        "silence",
        "Turn the bell and the desktop notice off or on; they tell you that a job has ended"
        " while you look elsewhere.",
        "f8",
    ),
    Action(
        "app.copied",
        "copy selection",
        "Copy the selected text. Never stops anything.",
        "ctrl+c",
        call="help_quit",
    ),
    Action("app.quit", "quit", "Quit Luthier. Jobs keep running.", "q", footer=True),
    Action(
        "app.quit_now",
        "quit",
        "Quit Luthier, even while typing. Jobs keep running.",
        "ctrl+q",
        call="quit",
        footer=True,
        priority=True,
    ),
]

ACTIONS: list[Action] = [
    *(action for screen in SCREENS for action in screen.actions),
    *LISTS,
    *LOGS,
    *SEARCH,
    *SAMPLES,
    *APP,
]


_BY_PLACE: dict[Place, list[Action]] = defaultdict(list)
for _action in ACTIONS:
    _BY_PLACE[_action.place].append(_action)


def actions_of(*places: Place) -> list[Action]:
    return [action for place in places for action in _BY_PLACE.get(place, ())]


def key_of(action_id: str) -> str:
    """The key that does it, as it is shown."""
    place = action_id.partition(".")[0]
    return next(action.key_names[0] for action in actions_of(place) if action.id == action_id)


def with_keys(text: str) -> Content:
    """A text in which "{chat.model}" stands for the key of that action."""
    parts = _ACTION_ID.split(text)  # every second one is an id
    return Content.assemble(
        *((key_of(part), "$primary") if odd else part for part, odd in zip(parts, cycle((0, 1))))
    )


def bindings(place: Place) -> list[BindingType]:
    """The bindings of everything that can be done at this place: a screen's or widget's
    `BINDINGS`."""
    return [
        Binding(
            action.keys,
            action.action,
            action.title,
            show=action.footer,
            key_display=action.key_names[0],
            tooltip=action.help,
            priority=action.priority,
            id=action.id,
        )
        for action in actions_of(place)
    ]


def place_of(screen: object) -> Place:
    """The place that a screen declares; "app" for one that declares none."""
    return str(getattr(screen, "place", "app"))
