"""What a user can do, as one value: its keys, its words, and where it can be done."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from textual.keys import key_to_character

Place = str
"""Where something can be done: a screen of `tui.screens`, or a widget with keys of its own."""


@dataclass(frozen=True)
class Action:
    """One thing a user can do.

    `id` is "place.name"; the widget of that place has the method `action_name`, unless `call` names
    another one. `keys` are Textual's names, separated by commas; the first is the one that is
    shown. `footer` puts it among the hints at the bottom. A `priority` key works inside text inputs
    and modals too.
    """

    id: str
    title: str
    help: str
    keys: str
    footer: bool = False
    call: str = ""
    priority: bool = False

    @property
    def place(self) -> Place:
        return self.id.partition(".")[0]

    @property
    def action(self) -> str:
        return self.call or self.id.partition(".")[2]

    @property
    def current_keys(self) -> list[str]:
        """Those that do it: the user's, where the keymap has some."""
        return _own_keys.get(self.id, self.keys).split(",")

    @property
    def key_names(self) -> list[str]:
        return [key_name(key) for key in self.current_keys]


_own_keys: dict[str, str] = {}


def use_keys(keys: Mapping[str, str]) -> None:
    """Show these keys for the actions of these ids from now on, instead of the usual ones."""
    _own_keys.clear()
    _own_keys.update(keys)


@dataclass(frozen=True)
class Handler:
    """What an action does, and whether it can be done now."""

    run: Callable[..., object]
    enabled: Callable[[], bool] = lambda: True
    keeps_key: Callable[[], bool] = lambda: False
    """Whether its key is not the app's either while it cannot be done."""


def handled(actions: list[Action]) -> list[Action]:
    """The same actions, done by the `handlers` of their screen instead of by its methods."""
    calls = (action.action.partition("(") for action in actions)
    return [
        replace(action, call=f"do('{name}', {arguments}" if arguments else f"do('{name}')")
        for action, (name, _, arguments) in zip(actions, calls, strict=True)
    ]


_KEY_NAMES = {
    "question_mark": "?",
    "slash": "/",
    "escape": "esc",
    "left_square_bracket": "[",
    "right_square_bracket": "]",
    "pagedown": "pgdn",
    "pageup": "pgup",
    "plus": "+",
    "equals_sign": "=",
    "minus": "-",
    "comma": ",",
    "less_than_sign": "<",
    "greater_than_sign": ">",
    "full_stop": ".",
    "apostrophe": "'",
}


def key_name(key: str) -> str:
    name = _KEY_NAMES.get(key, key)
    return f"^{name.removeprefix('ctrl+')}" if name.startswith("ctrl+") else name


def typed_character(key: str) -> str | None:
    """What a key types; None for one that types nothing. Textual knows it only of characters that
    Unicode calls as Textual does: not of "slash", "plus" and "minus"."""
    name = key_name(key)
    return name if len(name) == 1 else key_to_character(key)


def key_of_name(name: str) -> str:
    """Textual's name of a key that is called as `key_name` or Textual calls it."""
    if name.startswith("^") and len(name) > 1:
        return f"ctrl+{name[1:]}"
    keys = {label: key for key, label in _KEY_NAMES.items()}
    return keys.get(name, name)
