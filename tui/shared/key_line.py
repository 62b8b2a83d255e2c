"""Keys and what they do, in a line. Each can be clicked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from textual.content import Content
from textual.events import Click
from textual.widgets import Static

GAP = 3


@dataclass(frozen=True)
class KeyHint:
    """`key` is Textual's name, `label` what stands for it."""

    key: str
    label: str
    text: str

    @property
    def width(self) -> int:
        return len(self.label) + 1 + len(self.text)


class KeyLine(Static):
    colour = "$primary"
    """Of the keys; a mode has its own."""

    def __init__(self, *hints: KeyHint, classes: str = "keys") -> None:
        super().__init__(classes=classes)
        self._places: list[tuple[range, str]] = []
        self.hints: list[KeyHint] = []
        self.show(hints)

    def show(self, hints: Sequence[KeyHint]) -> None:
        self.hints = list(hints)
        self._places, x = [], 0
        for hint in hints:
            self._places.append((range(x, x + hint.width), hint.key))
            x += hint.width + GAP
        texts = [
            Content.assemble(
                (f"{hint.label} ", f"bold {self.colour}"), (hint.text, "$foreground-muted")
            )
            for hint in hints
        ]
        self.update(Content(" " * GAP).join(texts))

    def on_click(self, event: Click) -> None:
        """A click on a hint presses its key."""
        at = event.get_content_offset(self)
        for columns, key in self._places:
            if at is not None and at.x in columns:
                self.app.simulate_key(key)
