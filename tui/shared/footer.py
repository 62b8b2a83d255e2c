"""The line at the bottom: the keys that do something now, most useful first."""

from __future__ import annotations

from textual.events import Resize
from textual.keys import key_to_character
from textual.screen import Screen

from tui.shared.action import key_name
from tui.shared.key_line import GAP, KeyHint, KeyLine


class KeyFooter(KeyLine):
    """One widget and one update a change: Textual's Footer builds a widget a key anew, which
    flickers when states change."""

    def __init__(self) -> None:
        super().__init__(classes="")

    def on_mount(self) -> None:
        self.screen.bindings_updated_signal.subscribe(self, self._bindings_changed)

    def on_resize(self, event: Resize) -> None:
        self.show_possible()

    def _bindings_changed(self, screen: Screen[object]) -> None:
        self.call_after_refresh(self.show_possible)

    def show_possible(self) -> None:
        """What does not fit is left out, but never the last two: help and quit."""
        if not self.is_attached or not self.screen.is_current:
            return
        focused = self.screen.focused
        possible = [
            active.binding
            for key, active in self.screen.active_bindings.items()
            if active.binding.show
            and active.enabled
            # of a key from the user's keymap Textual does not ask whether it types
            and not (
                focused is not None
                and not active.binding.priority
                and focused.check_consume_key(key, key_to_character(key))
            )
        ]
        first_keys = {binding.id: binding for binding in reversed(possible)}
        hints = [
            KeyHint(binding.key, key_name(binding.key), binding.description)
            for binding in reversed(first_keys.values())
        ]
        while (
            len(hints) > 2
            and sum(hint.width + GAP for hint in hints) - GAP > self.content_size.width
        ):
            del hints[-3]
        self.show(hints)
