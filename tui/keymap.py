"""The user's own keys: `keymap.toml` in Luthier's home, an action's id and its keys a line. What
cannot be used is left as it was and named in words, so that it never stops the start."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from textual.keys import Keys, _character_to_key

from jobs.home import home
from jobs.near import did_you_mean
from tui.shared.action import Action, Place, key_name, key_of_name, typed_character

FILE = "keymap.toml"
_MODIFIERS = {"ctrl", "shift", "alt"}
_NAMED = {key.value for key in Keys if key.value.isidentifier()} | {"space"}
_EVERYWHERE = {"app", "list"}
"""Their keys act on every screen; those of logs and samples only where one of them has the focus.
"""


@dataclass
class Keymap:
    """What the file says of the keys."""

    changed: dict[str, str] = field(default_factory=dict)
    """The keys of the actions that have others than usual, separated by commas."""
    textual: dict[str, str] = field(default_factory=dict)
    """As Textual takes it. It drops an action that shares a key with a changed one, unless that
    action is named as well: all of the same place are."""
    problems: list[str] = field(default_factory=list)
    """A sentence for each line that was left out."""


class _Unusable(Exception):
    """What is wrong with a line, in words."""


def read(actions: Sequence[Action]) -> Keymap:
    """The file's keys for these actions; none without a file."""
    path = home() / FILE
    if not path.is_file():
        return Keymap()
    import tomllib

    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        return Keymap(problems=[f"{FILE}: {str(error).rstrip('.')}. The usual keys are used."])
    keymap = Keymap()
    by_id = {action.id: action for action in actions}
    for action_id, value in _lines(content):
        try:
            keymap.changed[action_id] = _keys(action_id, value, by_id)
        except _Unusable as error:
            keymap.problems.append(f"{FILE}: {error}.")
    _leave_out_conflicts(keymap, actions)
    places = {by_id[action_id].place for action_id in keymap.changed}
    keymap.textual = {
        action.id: keymap.changed.get(action.id, action.keys)
        for action in actions
        if action.place in places
    }
    return keymap


def _lines(content: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, object]]:
    """TOML reads `runs.stop = "x"` as a table named runs."""
    for name, value in content.items():
        if isinstance(value, dict):
            yield from _lines(value, f"{before}{name}.")
        else:
            yield f"{before}{name}", value


def _keys(action_id: str, value: object, by_id: Mapping[str, Action]) -> str:
    """Textual's names of the keys, separated by commas."""
    if action_id not in by_id:
        raise _Unusable(
            f"there is no action {action_id!r}. {did_you_mean(action_id, by_id)}`luthier keys`"
            " lists them"
        )
    names = [value] if isinstance(value, str) else value
    if not isinstance(names, list) or not names or not all(isinstance(key, str) for key in names):
        raise _Unusable(f'{action_id} needs a key, such as "x", or a list of keys')
    keys = [_key(action_id, str(name)) for name in names]
    for key in keys:
        if by_id[action_id].priority and typed_character(key) is not None:
            raise _Unusable(
                f"{action_id} works while you type, and {key_name(key)!r} could not be typed any"
                " more"
            )
    return ",".join(dict.fromkeys(keys))


def _key(action_id: str, name: str) -> str:
    """Textual's name for a key as people write it: "x", "^x", "ctrl+x", "?", "f5"."""
    key = _character_to_key(name) if len(name) == 1 else key_of_name(name)
    *modifiers, last = key.split("+")
    if set(modifiers) <= _MODIFIERS and (last in _NAMED or typed_character(last) is not None):
        return key
    hint = did_you_mean(name, sorted(_NAMED))
    raise _Unusable(f"{action_id}: no key is called {name!r}. {hint}".rstrip(" ."))


def _leave_out_conflicts(keymap: Keymap, actions: Sequence[Action]) -> None:
    """An action keeps its usual keys where a new one is that of another action which could be done
    at the same time. What shares a key by default does so on purpose."""
    while conflict := _conflict(keymap.changed, actions):
        action, other, key = conflict
        del keymap.changed[action.id]
        keymap.problems.append(
            f"{FILE}: {key_name(key)!r} of {action.id} is the key of {other.id} ({other.title})"
            f" already. {action.id} keeps its usual key."
        )


def _conflict(
    changed: Mapping[str, str], actions: Sequence[Action]
) -> tuple[Action, Action, str] | None:
    owners: dict[str, list[Action]] = defaultdict(list)
    for action in actions:
        for key in changed.get(action.id, action.keys).split(","):
            owners[key].append(action)
    for action in actions:
        for key in changed.get(action.id, "").split(","):
            if key in action.keys.split(","):
                continue
            for other in owners[key]:
                if other.id != action.id and _meet(action.place, other.place):
                    return action, other, key
    return None


def _meet(first: Place, second: Place) -> bool:
    """Whether the keys of both places act at the same time."""
    return first == second or bool(_EVERYWHERE & {first, second})
