"""Commands in the prompt, such as /export, of the app's chat and of `luthier chat`: the actions of
the registry by their titles."""

from __future__ import annotations

import re
from collections.abc import Mapping

from jobs.near import did_you_mean
from tui import key_bindings
from tui.shared.action import Action

_WORD = re.compile(r"/[a-z-]*")
_LEFT_OUT = {
    *("chat.send", "chat.commands", "chat.write"),
    *("app.back", "app.copied", "app.quit_now", "app.jump"),
}
"""They are about the prompt, or about what the keyboard is on."""


def slash_actions() -> Mapping[str, Action]:
    """By the word behind the slash. Of two of the same title, it is the one for all panes."""
    actions: dict[str, Action] = {}
    for action in key_bindings.actions_of("chat", "app"):
        if action.id not in _LEFT_OUT:
            actions.setdefault(action.title.lower().replace(" ", "-"), action)
    return dict(sorted(actions.items()))


def is_command(text: str) -> bool:
    """Whether a prompt is meant for Luthier: one word behind a slash. A path has more slashes, and
    a blank before the slash makes a text of it."""
    return _WORD.fullmatch(text) is not None


def matches(text: str) -> dict[str, Action]:
    """The commands that begin as the prompt does."""
    word = text.removeprefix("/")
    return {name: action for name, action in slash_actions().items() if name.startswith(word)}


def unknown(text: str) -> str:
    """What to say of a command that is none."""
    hint = did_you_mean(text.removeprefix("/"), slash_actions())
    return f"There is no {text}. {hint}/help lists all; a blank before the slash sends the text."


def command_of(text: str) -> Action | None:
    """The command that is named in full, or the only one that begins so."""
    exact = slash_actions().get(text.removeprefix("/"))
    if exact is not None:
        return exact
    beginning = list(matches(text).values())
    return beginning[0] if len(beginning) == 1 else None


def completed(text: str) -> str:
    """What tab makes of the beginning of a command: as much as is certain; empty for a text."""
    if not is_command(text) or not (names := list(matches(text))):
        return ""
    first, last = min(names), max(names)
    pairs = zip(first, last, strict=False)
    length = next((at for at, (mine, theirs) in enumerate(pairs) if mine != theirs), len(first))
    return f"/{first[:length]}"
