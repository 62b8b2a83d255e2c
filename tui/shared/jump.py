"""Jump mode: a letter over all that can have the focus; pressing it goes there."""

from __future__ import annotations

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.content import Content
from textual.events import Key, Resize
from textual.geometry import Size
from textual.screen import ModalScreen, Screen
from textual.widget import Widget
from textual.widgets import Static

_LETTERS = "asdfghjklqwertyuiopzxcvbnm"


def targets(screen: Screen[object]) -> list[Widget]:
    """What can be jumped to: in sight, from the top down and from the left."""
    area = screen.region
    in_sight = [widget for widget in screen.focus_chain if widget.region.overlaps(area)]
    return sorted(in_sight, key=lambda widget: (widget.region.y, widget.region.x))[: len(_LETTERS)]


class JumpOverlay(ModalScreen[Widget | None]):
    """Gives back what was chosen; any other key leaves."""

    CSS_PATH = "jump.tcss"
    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "dismiss")]

    def __init__(self, widgets: list[Widget]) -> None:
        super().__init__()
        self._by_letter = dict(zip(_LETTERS, widgets, strict=False))
        self._size_at_first: Size | None = None

    def compose(self) -> ComposeResult:
        for letter, widget in self._by_letter.items():
            label = Static(Content(f" {letter} "), classes="jump")
            label.styles.offset = (widget.region.x + 1, widget.region.y)
            yield label

    def on_key(self, event: Key) -> None:
        event.stop()
        self.dismiss(self._by_letter.get(event.key))

    def on_resize(self, event: Resize) -> None:
        """The letters stand where the widgets were before another size came."""
        if self._size_at_first is None:
            self._size_at_first = event.size
        elif event.size != self._size_at_first and self.is_current:
            self.dismiss(None)
