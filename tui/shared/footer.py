"""The line at the bottom: the keys that do something now, most useful first."""

from __future__ import annotations

from textual.binding import Binding
from textual.events import Resize
from textual.screen import Screen

from tui import key_bindings
from tui.shared.action import key_name, typed_character
from tui.shared.key_line import GAP, KeyHint, KeyLine

_QUITS_WHILE_TYPING = "ctrl+q"


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
                and focused.check_consume_key(key, typed_character(key))
            )
        ]
        first_keys = {binding.id: binding for binding in reversed(possible)}
        if "app.quit" in first_keys:  # its other key is for while a text is written
            first_keys.pop("app.quit_now", None)
        hints = [
            KeyHint(binding.key, key_name(binding.key), binding.description)
            for binding in self._in_order([*reversed(first_keys.values())])
        ]
        self.show(self._fitting(hints))

    def _fitting(self, hints: list[KeyHint]) -> list[KeyHint]:
        """Those that there is room for: without the second key of quit first, then without the last
        ones before help and quit."""
        kept = 2
        while sum(hint.width + GAP for hint in hints) - GAP > self.content_size.width:
            if hints[-1].key == _QUITS_WHILE_TYPING:
                kept = 1
                del hints[-1]
            elif len(hints) > kept:
                del hints[-kept - 1]
            else:
                break
        return hints

    def _in_order(self, bindings: list[Binding]) -> list[Binding]:
        """The screen's own in their order in the registry: where a text has the focus, Textual puts
        a key that the text has, too, where the text has it."""
        order = {
            action.id: index
            for index, action in enumerate(
                key_bindings.actions_of(key_bindings.place_of(self.screen))
            )
        }
        screen_bindings = sorted(
            (binding for binding in bindings if binding.id in order),
            key=lambda binding: order[binding.id or ""],
        )
        return [screen_bindings.pop(0) if binding.id in order else binding for binding in bindings]
