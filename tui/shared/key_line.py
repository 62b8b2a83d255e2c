"""Keys and what they do, in a line, or in several where it is too narrow. Each can be clicked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from textual.content import Content
from textual.events import Click, Resize

from tui.shared.steady_text import SteadyText

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


class KeyLine(SteadyText):
    colour = "$primary"
    """Of the keys; a mode has its own."""

    def __init__(self, *hints: KeyHint, classes: str = "keys") -> None:
        super().__init__(classes=classes)
        self._places: list[tuple[int, range, str]] = []
        self.hints: list[KeyHint] = []
        self.show(hints)

    def show(self, hints: Sequence[KeyHint]) -> None:
        self.hints = list(hints)
        self._lay_out()

    def on_resize(self, event: Resize) -> None:
        self._lay_out()

    def _lay_out(self) -> None:
        width = self.content_size.width
        lines: list[list[Content]] = [[]]
        self._places, x = [], 0
        for hint in self.hints:
            if width and x and x + hint.width > width:
                lines.append([])
                x = 0
            self._places.append((len(lines) - 1, range(x, x + hint.width), hint.key))
            x += hint.width + GAP
            lines[-1].append(
                Content.assemble(
                    (f"{hint.label} ", f"bold {self.colour}"), (hint.text, "$foreground-muted")
                )
            )
        self.update(Content("\n").join(Content(" " * GAP).join(line) for line in lines))

    def on_click(self, event: Click) -> None:
        """A click on a hint presses its key."""
        at = event.get_content_offset(self)
        for line, columns, key in self._places:
            if at is not None and at.y == line and at.x in columns:
                self.app.simulate_key(key)
